"""Why a run failed: from what its ranks printed, what their nodes know, and the table of signatures."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from orchestrator import events
from orchestrator.control.circumstances import with_circumstances
from orchestrator.control.first_failure import DEAD, FirstFailure, NodeState, SelfReport
from orchestrator.control.verdict import describe
from orchestrator.logs.sanitize import as_seen
from orchestrator.logs.stream import Channel, Stream
from orchestrator.plan import NodePlan, Plan
from orchestrator.remote import answers
from orchestrator.remote.reports import ProcessEnd, RankReport
from orchestrator.runs.not_sent import with_reason
from orchestrator.runs.uneven import with_uneven
from orchestrator.util.text import printable

if TYPE_CHECKING:  # it takes a moment to import, which a run that succeeds has no need of
    from orchestrator.diagnose import Diagnosis, Hit, PythonError

_READ = 1 << 18  # bytes of the end of each stream that are looked at
_LINES = 10
_LONGEST_LINE = 400
_MOST_ACCOUNTS = 256  # ranks whose words are read
_LONGEST_ERROR = 600
_MOST_PLACES = 3
_TORCH = re.compile(r"\[rank\d+\]: ?")  # before the lines of a traceback that torch prints
_MARKERS = " ^~"  # under the code in a traceback of Python 3.11
_EXCEPTION = "python.exception"  # the signature of one that no row of the table knows
_CODE = "exit.code"  # of one that ended itself, and printed nothing that is known
_EXIT_WITH_MESSAGE = 1  # the exit code of sys.exit("message")
_SAID = "it ended itself (sys.exit, os._exit), or a program that it ran failed"
_SAID_LAST = "it ended itself with this message, as sys.exit(message) does"
_READ_ON = "see the last lines that it printed, below"
_KILLED = "exit.kill"
_BY_THE_KERNEL = (_KILLED, "memory.oom-killer")
_CHANNELS: tuple[Channel, ...] = ("stderr", "stdout")
_GONE = (
    "the machine, or its network, is gone",
    "look at its console and its kernel log (`dmesg -T`), and try it with `orch nodes`",
)
_DEAD = (
    "somebody killed orch's supervisor there, or the machine was started anew",
    "see `last reboot` and the kernel log there; what must not be killed are processes orch-supervisor",
)


@dataclass(frozen=True)
class NodeEvidence:
    """What the culprit's node knows of its end; None where it knows nothing, or cannot be asked.

    `error_file` is torch's, `oom_kills` how many processes the kernel killed for lack of memory, `kernel`
    the lines of its log that may be about it, and `why` says why there are none to be seen. `full` are
    folders of the run in which there is no room, `file_limit` is how many bytes a file may have there.
    """

    error_file: str | None = None
    oom_kills: int | None = None
    kernel: tuple[str, ...] | None = None
    why: str | None = None
    full: tuple[str, ...] = ()
    file_limit: int | None = None

    @classmethod
    def parse(cls, answer: Any) -> NodeEvidence:
        """Return what the node's answer to `evidence` says. Raises TypeError, ValueError or KeyError."""
        error_file, oom_kills = answer["error_file"], answer["oom_kills"]
        kernel, why, limit = answer["kernel"], answer["why"], answer["file_limit"]
        return cls(
            error_file=None if error_file is None else answers.text(error_file),
            oom_kills=None if oom_kills is None else answers.count(oom_kills),
            kernel=None if kernel is None else tuple(answers.texts(kernel)),
            why=None if why is None else printable(answers.text(why)),
            full=tuple(printable(path) for path in answers.texts(answer["full"])[:_MOST_PLACES]),
            file_limit=None if limit is None else answers.count(limit),
        )


def _text(said: Any) -> str | None:
    if said is not None and not isinstance(said, str):
        raise TypeError(f"not a text: {type(said)}")
    return said


@dataclass
class SelfReports:
    """What ranks say of their ends in the copies of their logs, below `logs`; each is read once."""

    logs: Path
    _known: dict[tuple[str, int, int], SelfReport] = field(default_factory=dict)

    def __call__(self, node: NodeState, rank: RankReport) -> SelfReport:
        """Return whom the rank's own words blame; nobody, once so many were asked."""
        key = (node.name, rank.rank, rank.attempt)
        if key not in self._known:
            if len(self._known) >= _MOST_ACCOUNTS:
                return ""
            self._known[key] = _account(_diagnose(self.logs, node.name, rank, NodeEvidence()))
        return self._known[key]


def explain(
    plan: Plan,
    nodes: Mapping[str, NodeState],
    first_failure: FirstFailure,
    logs: Path,
    known: NodeEvidence,
    source: Path | None = None,
    uneven: Sequence[events.Uneven] = (),
) -> events.Explained:
    """Return why the run failed, of which this is the `culprit`; `known` is what its node knows.

    `source` is the folder of this machine that went to the nodes (None: none did), and `uneven` are
    the files that only some of them had when the run began.
    """
    state, place = (
        nodes[first_failure.node],
        next(n for n in plan.nodes if n.name == first_failure.node),
    )
    rank = None if first_failure.rank is None else state.ranks[first_failure.rank]
    diagnosis = None
    if first_failure.end is not None:
        diagnosis = _diagnose(logs, first_failure.node, rank or first_failure.end, known)
    hit = diagnosis.verdict if diagnosis else None
    seen = ""
    if hit is not None:
        longest = max(
            _size(_file(logs, first_failure.node, rank, channel)) for channel in _CHANNELS
        )
        hit = with_uneven(with_reason(hit, source, place), uneven)
        hit, seen = with_circumstances(hit, known.full, known.file_limit, longest)
    error = _error(diagnosis, known)
    summary = error.summary if error else ""
    cause, fix = (hit.cause, hit.fix) if hit else _of_node(state)
    meaning = hit.meaning if hit else ""
    channel, file, lines = _spoke_last(logs, first_failure.node, rank, place.workdir)
    if hit is not None and hit.signature.id == _EXCEPTION:
        meaning = cause = fix = ""  # it speaks for itself
    elif hit is not None and hit.signature.id == _CODE and channel == "stderr" and lines:
        meaning, cause, fix = "", _SAID, _READ_ON
        if first_failure.end is not None and first_failure.end.code == _EXIT_WITH_MESSAGE:
            summary, cause, fix = lines[-1], _SAID_LAST, _READ_ON if lines[1:] else ""
    return events.Explained(
        run=plan.run,
        how=describe(first_failure),
        node=first_failure.node,
        rank=first_failure.rank,
        code=first_failure.end.code if first_failure.end else None,
        signal=first_failure.end.signal if first_failure.end else None,
        after=rank.ended - rank.started if rank and rank.ended is not None else None,
        error=printable(summary, _LONGEST_ERROR),
        place=_place(error, place) if error else "",
        signature=hit.signature.id if hit else "",
        meaning=meaning,
        cause=cause,
        fix=fix,
        check=(hit.signature.check or "") if hit else "",
        evidence=seen or _evidence(hit, known),
        channel=channel,
        lines=_without(summary, lines) if first_failure.end is not None else (),
        victims=_victims(plan, nodes, first_failure),
        unbegun=_unbegun(plan, nodes, first_failure),
        oom_kills=known.oom_kills if hit and "oom_kills" in hit.first.details else None,
        logs=file if first_failure.end is not None else logs / first_failure.node,
        command=_command(plan, first_failure, channel),
    )


def _of_node(state: NodeState) -> tuple[str, str]:
    """Return the cause and the fix where the culprit is all of a node."""
    if state.gone is not None:
        return _GONE
    return _DEAD if state.status is not None and state.status.state in DEAD else ("", "")


# -- what it was ------------------------------------------------------------------------------------


def _diagnose(
    logs: Path, node: str, what: RankReport | ProcessEnd, known: NodeEvidence
) -> Diagnosis:
    """Look a rank's words, or a launcher's, up in the table, together with what its node knows."""
    from orchestrator.diagnose import Evidence, Exit, Source, diagnose
    from orchestrator.diagnose.site_signatures import site_signatures

    rank = what if isinstance(what, RankReport) else None
    number = None if rank is None else rank.rank
    end = what if isinstance(what, ProcessEnd) else what.end
    assert end is not None
    code = -end.signal if end.signal is not None else end.code or 0
    streams = [
        (Source(channel, number, node), [_end_of(_file(logs, node, rank, channel))])
        for channel in _CHANNELS
    ]
    files: tuple[tuple[Source, bytes], ...] = ()
    if known.error_file is not None:
        files = ((Source("error file", number, node), _bytes(known.error_file)),)
    return diagnose(
        streams,
        Evidence(
            exits=(Exit(number, code, node, rank.pid if rank else None),),
            kernel_logs={} if known.kernel is None else {node: _about(rank, known.kernel)},
            oom_kills={} if known.oom_kills is None else {node: known.oom_kills},
            error_files=files,
        ),
        site_signatures().signatures,
    )


def _about(rank: RankReport | None, log: tuple[str, ...]) -> list[bytes]:
    """Return the lines of a kernel's log that name the rank's process; others die on a node, too."""
    pid = re.compile(rf"\b{rank.pid}\b") if rank else re.compile("(?!)")
    return [_bytes(line) for line in log if pid.search(line)]


def _bytes(said: str) -> bytes:
    """Return a text of a node; JSON, in which it came, can have half a character, which UTF-8 cannot."""
    return said.encode("utf-8", "replace")


def _account(diagnosis: Diagnosis) -> SelfReport:
    from orchestrator.diagnose import Kind

    told = [hit for hit in diagnosis.hits if hit.kind in (Kind.ROOT, Kind.CASCADE)]
    # That a peer cannot be reached is a cause of its own only where no peer has failed.
    others = [h for h in told if h.kind is Kind.CASCADE or h.signature.check == "net.tcp"]
    return "own" if len(told) > len(others) else "others" if others else ""


def _error(diagnosis: Diagnosis | None, known: NodeEvidence) -> PythonError | None:
    """Return the exception: as torch recorded it, else as it was printed."""
    from orchestrator.diagnose.traceback import read_error_file

    if known.error_file is not None:
        read = read_error_file(_bytes(known.error_file))
        if read is not None:
            return read[0]
    hits = diagnosis.hits if diagnosis else ()
    return next((hit.error for hit in hits if hit.error is not None), None)


def _place(error: PythonError, node: NodePlan) -> str:
    """Return `train.py:88 in step`, the file as it is called in the job's folder."""
    if error.file is None:
        return ""
    file = PurePosixPath(error.file)
    if file.is_relative_to(node.workdir):
        file = file.relative_to(node.workdir)
    function = f" in {error.function}" if error.function and error.function != "<module>" else ""
    return printable(f"{file}:{error.line}{function}", _LONGEST_LINE)


def _evidence(hit: Hit | None, known: NodeEvidence) -> str:
    """Return what the kernel says, or that it says nothing, of a rank that was killed."""
    if hit is None or hit.signature.id not in _BY_THE_KERNEL:
        if not known.oom_kills:
            return ""
        count = "a process" if known.oom_kills == 1 else f"{known.oom_kills} processes"
        return f"the kernel killed {count} of its control group meanwhile, for lack of memory"
    why = f" ({known.why})" if known.why and hit.signature.id == _KILLED else ""
    return f"{hit.first.text}{why}"


# -- what it printed --------------------------------------------------------------------------------


def _file(logs: Path, node: str, rank: RankReport | None, channel: Channel) -> Path:
    attempt, number = (rank.attempt, rank.rank) if rank else (_last_attempt(logs, node), None)
    return logs / node / Stream(node, attempt, number, None, channel).path


def _last_attempt(logs: Path, node: str) -> int:
    """Return the last attempt of which the launcher of a node has left a log."""
    numbers = (path.parent.name[8:] for path in (logs / node).glob("attempt-*/launcher.*"))
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0  # it printed nothing


def _end_of(file: Path) -> bytes:
    try:
        with file.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _READ))
            return log.read(_READ)
    except OSError:
        return b""  # it printed nothing, or there was no room for it here


def _spoke_last(
    logs: Path, node: str, rank: RankReport | None, workdir: str
) -> tuple[Channel, Path, tuple[str, ...]]:
    """Return the channel in which to look first, its file and the last lines there: stderr, unless nothing
    that matters was printed there.
    """
    for channel in _CHANNELS:
        file = _file(logs, node, rank, channel)
        if lines := _last_lines(file, workdir):
            return channel, file, lines
    return "stderr", _file(logs, node, rank, "stderr"), ()


def _last_lines(file: Path, workdir: str) -> tuple[str, ...]:
    """Return the last lines that are not blank, nor mean nothing, as a terminal shows them, without colour.

    Files are named as they are called in `workdir`.
    """
    from orchestrator.diagnose import is_noise
    from orchestrator.diagnose.site_signatures import site_signatures

    site = site_signatures().signatures
    shown: deque[str] = deque(maxlen=_LINES)
    for line in _end_of(file).split(b"\n"):
        text = _TORCH.sub("", as_seen(line)).replace(f"{workdir}/", "").rstrip()
        if text.strip(_MARKERS) and not is_noise(text, site):
            shown.append(text if len(text) <= _LONGEST_LINE else f"{text[: _LONGEST_LINE - 1]}…")
    return tuple(shown)


def _without(error: str, lines: tuple[str, ...]) -> tuple[str, ...]:
    """Return `lines` but for the last where that is the `error`, which is told by itself."""
    return lines[:-1] if error and lines and lines[-1] == error else lines


def _command(plan: Plan, first_failure: FirstFailure, channel: Channel) -> str:
    if first_failure.end is None or first_failure.rank is None:
        return f"orch logs {plan.run} --nodes {first_failure.node}"
    return f"orch logs {plan.run} --rank {first_failure.rank} --{channel}"


def _victims(
    plan: Plan, nodes: Mapping[str, NodeState], first_failure: FirstFailure
) -> tuple[int, ...]:
    """Return the ranks, but for the culprit, that began and are not known to have ended well."""
    well, began = set[int](), set[int]()
    for node in nodes.values():
        began.update(node.ranks)
        well.update(r.rank for r in node.ranks.values() if r.end is not None and r.end.succeeded)
    return tuple(sorted((began & plan.expected_ranks) - well - _itself(plan, first_failure)))


def _unbegun(
    plan: Plan, nodes: Mapping[str, NodeState], first_failure: FirstFailure
) -> tuple[int, ...]:
    """Return the ranks, but for the culprit's, of which nobody has seen that they began."""
    began = {rank for node in nodes.values() for rank in node.ranks}
    return tuple(sorted(plan.expected_ranks - began - _itself(plan, first_failure)))


def _itself(plan: Plan, first_failure: FirstFailure) -> set[int | None]:
    """Return the ranks that the culprit is: where it is a whole node, all of that."""
    if first_failure.end is not None:
        return {first_failure.rank}
    return {rank for node in plan.nodes if node.name == first_failure.node for rank in node.ranks}
