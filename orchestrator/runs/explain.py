"""Why a run failed: from what its ranks printed, what their nodes know, and the table of signatures."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from orchestrator import events
from orchestrator.logs.harmless import as_seen
from orchestrator.logs.stream import Channel, Stream
from orchestrator.plan import NodePlan, Plan
from orchestrator.remote.reports import ProcessEnd, RankReport
from orchestrator.remote.text import printable
from orchestrator.runs.culprit import DEAD, Account, Culprit, NodeState
from orchestrator.runs.verdict import describe

if TYPE_CHECKING:  # it takes a moment to import, which a run that succeeds has no need of
    from orchestrator.diagnose import Diagnosis, Hit, PythonError

_READ = 1 << 18  # bytes of the end of each stream that are looked at
_LINES = 10
_LONGEST_LINE = 400
_MOST_ACCOUNTS = 256  # ranks whose words are read
_LONGEST_ERROR = 600
_TORCH = re.compile(r"\[rank\d+\]: ?")  # before the lines of a traceback that torch prints
_MARKERS = " ^~"  # under the code in a traceback of Python 3.11
_EXCEPTION = "python.exception"  # the signature of one that no row of the table knows
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
class Known:
    """What the culprit's node knows of its end; None where it knows nothing, or cannot be asked.

    `error_file` is torch's, `oom_kills` how many processes the kernel killed for lack of memory, `kernel`
    the lines of its log that may be about it, and `why` says why there are none to be seen.
    """

    error_file: str | None = None
    oom_kills: int | None = None
    kernel: tuple[str, ...] | None = None
    why: str | None = None

    @classmethod
    def parse(cls, answer: Any) -> Known:
        """Return what the node's answer to `evidence` says. Raises TypeError or KeyError."""
        kernel = answer["kernel"]
        return cls(
            error_file=None if answer["error_file"] is None else str(answer["error_file"]),
            oom_kills=None if answer["oom_kills"] is None else int(answer["oom_kills"]),
            kernel=None if kernel is None else tuple(str(line) for line in kernel),
            why=None if answer["why"] is None else printable(str(answer["why"])),
        )


@dataclass
class Accounts:
    """What ranks say of their ends in the copies of their logs, below `logs`; each is read once."""

    logs: Path
    _known: dict[tuple[str, int, int], Account] = field(default_factory=dict)

    def __call__(self, node: NodeState, rank: RankReport) -> Account:
        """Return whom the rank's own words blame; nobody, once so many were asked."""
        key = (node.name, rank.rank, rank.attempt)
        if key not in self._known:
            if len(self._known) >= _MOST_ACCOUNTS:
                return ""
            self._known[key] = _account(_diagnose(self.logs, node.name, rank, Known()))
        return self._known[key]


def explain(
    plan: Plan, nodes: Mapping[str, NodeState], culprit: Culprit, logs: Path, known: Known
) -> events.Explained:
    """Return why the run failed, of which this is the `culprit`; `known` is what its node knows."""
    state, place = nodes[culprit.node], next(n for n in plan.nodes if n.name == culprit.node)
    rank = None if culprit.rank is None else state.ranks[culprit.rank]
    diagnosis = None
    if culprit.end is not None:
        diagnosis = _diagnose(logs, culprit.node, rank or culprit.end, known)
    hit = diagnosis.verdict if diagnosis else None
    error = _error(diagnosis, known)
    cause, fix = (hit.cause, hit.fix) if hit else _of_node(state)
    meaning = hit.meaning if hit else ""
    if hit is not None and hit.signature.id == _EXCEPTION:
        meaning = cause = fix = ""  # it speaks for itself
    channel, file, lines = _spoke_last(logs, culprit.node, rank, place.workdir)
    return events.Explained(
        run=plan.run,
        how=describe(culprit),
        node=culprit.node,
        rank=culprit.rank,
        code=culprit.end.code if culprit.end else None,
        signal=culprit.end.signal if culprit.end else None,
        after=rank.ended - rank.started if rank and rank.ended is not None else None,
        error=printable(error.summary, _LONGEST_ERROR) if error else "",
        place=_place(error, place) if error else "",
        signature=hit.signature.id if hit else "",
        meaning=meaning,
        cause=cause,
        fix=fix,
        check=(hit.signature.check or "") if hit else "",
        evidence=_evidence(hit, known),
        channel=channel,
        lines=_without(error, lines) if culprit.end is not None else (),
        victims=_victims(plan, nodes, culprit),
        logs=file if culprit.end is not None else logs / culprit.node,
        command=_command(plan, culprit, channel),
    )


def _of_node(state: NodeState) -> tuple[str, str]:
    """Return the cause and the fix where the culprit is all of a node."""
    if state.gone is not None:
        return _GONE
    return _DEAD if state.status is not None and state.status.state in DEAD else ("", "")


# -- what it was ------------------------------------------------------------------------------------


def _diagnose(logs: Path, node: str, what: RankReport | ProcessEnd, known: Known) -> Diagnosis:
    """Look a rank's words, or a launcher's, up in the table, together with what its node knows."""
    from orchestrator.diagnose import Evidence, Exit, Source, diagnose

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
        files = ((Source("error file", number, node), known.error_file.encode()),)
    return diagnose(
        streams,
        Evidence(
            exits=(Exit(number, code, node, rank.pid if rank else None),),
            kernel_logs={} if known.kernel is None else {node: _about(rank, known.kernel)},
            oom_kills={} if known.oom_kills is None else {node: known.oom_kills},
            error_files=files,
        ),
    )


def _about(rank: RankReport | None, log: tuple[str, ...]) -> list[bytes]:
    """Return the lines of a kernel's log that name the rank's process; others die on a node, too."""
    pid = re.compile(rf"\b{rank.pid}\b") if rank else re.compile("(?!)")
    return [line.encode() for line in log if pid.search(line)]


def _account(diagnosis: Diagnosis) -> Account:
    from orchestrator.diagnose import Kind

    told = [hit for hit in diagnosis.hits if hit.kind in (Kind.ROOT, Kind.CASCADE)]
    # That a peer cannot be reached is a cause of its own only where no peer has failed.
    others = [h for h in told if h.kind is Kind.CASCADE or h.signature.check == "net.tcp"]
    return "own" if len(told) > len(others) else "others" if others else ""


def _error(diagnosis: Diagnosis | None, known: Known) -> PythonError | None:
    """Return the exception: as torch recorded it, else as it was printed."""
    from orchestrator.diagnose.traceback import read_error_file

    if known.error_file is not None:
        read = read_error_file(known.error_file.encode())
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


def _evidence(hit: Hit | None, known: Known) -> str:
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

    shown: deque[str] = deque(maxlen=_LINES)
    for line in _end_of(file).split(b"\n"):
        text = _TORCH.sub("", as_seen(line)).replace(f"{workdir}/", "").rstrip()
        if text.strip(_MARKERS) and not is_noise(text):
            shown.append(text if len(text) <= _LONGEST_LINE else f"{text[: _LONGEST_LINE - 1]}…")
    return tuple(shown)


def _without(error: PythonError | None, lines: tuple[str, ...]) -> tuple[str, ...]:
    """Return `lines` but for the last where that is the exception, which is told by itself."""
    return lines[:-1] if error and lines and lines[-1] == error.summary else lines


def _command(plan: Plan, culprit: Culprit, channel: Channel) -> str:
    if culprit.end is None or culprit.rank is None:
        return f"orch logs {plan.run} --nodes {culprit.node}"
    return f"orch logs {plan.run} --rank {culprit.rank} --{channel}"


def _victims(plan: Plan, nodes: Mapping[str, NodeState], culprit: Culprit) -> tuple[int, ...]:
    """Return the ranks, but for the culprit, that are not known to have ended well."""
    well = {
        rank.rank
        for node in nodes.values()
        for rank in node.ranks.values()
        if rank.end is not None and rank.end.succeeded
    }
    itself = {culprit.rank}
    if culprit.end is None:  # the whole node
        itself.update(*(node.ranks for node in plan.nodes if node.name == culprit.node))
    return tuple(sorted(plan.expected_ranks - well - itself))
