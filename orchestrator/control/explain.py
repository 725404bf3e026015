"""Why a run failed: from the output of its ranks, the evidence of their nodes, and known signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from orchestrator import events
from orchestrator.control.first_failure import DEAD, FirstFailure, NodeState, SelfReport
from orchestrator.control.node_evidence import NodeEvidence
from orchestrator.control.rank_output import MAX_LINE, RankOutput
from orchestrator.control.verdict import describe
from orchestrator.logs.stream import Channel
from orchestrator.plan import NodePlan, Plan
from orchestrator.remote.reports import ProcessEnd, RankReport
from orchestrator.runs.file_causes import with_disk_cause, with_file_cause
from orchestrator.util.durations import lifetime
from orchestrator.util.text import printable

if TYPE_CHECKING:  # slow to import, and a run that succeeds does not need it
    from orchestrator.control.looks.model import Subject
    from orchestrator.diagnose import Diagnosis, Hit, PythonError

_MAX_SELF_REPORTS = 256  # ranks whose output is read
_MAX_ERROR = 600  # characters
_EXCEPTION = "python.exception"  # the signature of an exception that no other signature matches
_CODE = "exit.code"  # the signature of a rank that exited by itself without known output
_EXIT_WITH_MESSAGE = 1  # the exit code of sys.exit("message")
_EXITED = "it exited by itself (sys.exit, os._exit), or a program that it ran failed"
_EXITED_WITH_MESSAGE = "it exited with this message, as sys.exit(message) does"
_SEE_OUTPUT = "see its last lines of output below"
_KILLED = "exit.kill"
_BY_THE_KERNEL = (_KILLED, "memory.oom-killer")
_LATE = 10.0  # seconds after the end of a rank: what is seen then may have changed
_GONE = (
    "the machine, the container or the network is down",
    "check its console and kernel log (`dmesg -T`), and the connection: orch nodes",
)
_DEAD = (
    "orch's supervisor there was killed, or the machine restarted",
    "see `last reboot` and the kernel log there; do not kill processes named orch-supervisor",
)


@dataclass
class SelfReports:
    """What ranks print about why they ended, from the logs below `logs`; each log is read once."""

    logs: Path
    _known: dict[tuple[str, int, int], SelfReport] = field(default_factory=dict)

    def __call__(self, node: NodeState, rank: RankReport) -> SelfReport:
        """Return the self-report of a rank; empty for more than `_MAX_SELF_REPORTS` ranks."""
        key = (node.name, rank.rank, rank.attempt)
        if key not in self._known and len(self._known) < _MAX_SELF_REPORTS and rank.end is not None:
            output = RankOutput(self.logs, node.name, rank)
            diagnosis = _diagnose(output, node.name, rank, rank.end, NodeEvidence())
            self._known[key] = _self_report(diagnosis)
        return self._known.get(key, "")


def explain(
    plan: Plan,
    nodes: Mapping[str, NodeState],
    failure: FirstFailure,
    logs: Path,
    evidence: NodeEvidence,
    source: Path | None = None,
    uneven: Sequence[events.Uneven] = (),
) -> events.Explained:
    """Return why the run failed; `failure` is what failed first, `evidence` what its node knows.

    `source` is the folder of this machine that was copied to the nodes (None: none was), and `uneven` are
    the files that only some of them had when the run began.
    """
    state, node = nodes[failure.node], next(n for n in plan.nodes if n.name == failure.node)
    rank = None if failure.rank is None else state.ranks[failure.rank]
    output = RankOutput(logs, node.name, rank)
    diagnosis = None
    if failure.end is not None:
        diagnosis = _diagnose(output, node.name, rank, failure.end, evidence)
    hit = diagnosis.best if diagnosis else None
    observed = ""
    looked: tuple[str, ...] = ()
    is_seen = False
    if hit is not None:
        subject = subject_of(plan, nodes, failure, logs, evidence)
        hit = with_file_cause(hit, source, node, uneven)
        hit, observed = with_disk_cause(hit, evidence.full, evidence.file_limit, output.longest)
        if subject is not None and subject.hit.signature.asks:
            hit, looked, is_seen = _look(subject, hit, evidence)
            observed = "" if is_seen else observed
    error = _python_error(diagnosis, evidence)
    summary = error.summary if error else ""
    cause, fix = (hit.cause, hit.fix) if hit else _of_node(state)
    meaning = hit.meaning if hit else ""
    channel, lines = output.last_lines(node.workdir)
    if hit is not None and hit.signature.id == _EXCEPTION:
        meaning = cause = fix = ""  # the exception is explanation enough
    elif hit is not None and hit.signature.id == _CODE and channel == "stderr" and lines:
        meaning, cause, fix = "", _EXITED, _SEE_OUTPUT
        if failure.end is not None and failure.end.code == _EXIT_WITH_MESSAGE:
            summary, cause = lines[-1], _EXITED_WITH_MESSAGE
            fix = _SEE_OUTPUT if lines[1:] else ""
    if failure.end is None:
        lines = ()
    elif summary and lines[-1:] == (summary,):
        lines = lines[:-1]  # already shown as the error
    itself: set[int | None] = {failure.rank} if failure.end is not None else set(node.ranks)
    began = {rank for each in nodes.values() for rank in each.ranks}
    return events.Explained(
        run=plan.run,
        how=describe(failure),
        node=node.name,
        rank=failure.rank,
        code=failure.end.code if failure.end else None,
        signal=failure.end.signal if failure.end else None,
        after=rank.ended - rank.started if rank and rank.ended is not None else None,
        error=printable(summary, _MAX_ERROR),
        place=_place(error, node) if error else "",
        signature=hit.signature.id if hit else "",
        meaning=meaning,
        cause=cause,
        fix=fix,
        check=(hit.signature.check or "") if hit else "",
        evidence=""
        if is_seen and hit and hit.signature.id == _KILLED
        else observed or _kernel_evidence(hit, evidence),
        channel=channel,
        lines=lines,
        victims=tuple(sorted((began & plan.expected_ranks) - _succeeded(nodes) - itself)),
        unbegun=tuple(sorted(plan.expected_ranks - began - itself)),
        oom_kills=evidence.oom_kills if hit and "oom_kills" in hit.first.details else None,
        logs=output.files[channel] if failure.end is not None else logs / node.name,
        command=_command(plan, failure, channel),
        looked=looked,
    )


def subject_of(
    plan: Plan,
    nodes: Mapping[str, NodeState],
    failure: FirstFailure,
    logs: Path,
    evidence: NodeEvidence,
) -> Subject | None:
    """Return the rank that failed, for looks at its node; None if it is no rank, or nothing is found."""
    from orchestrator.control.looks.model import Subject

    state = nodes[failure.node]
    if failure.rank is None or failure.end is None:
        return None
    node = next((each for each in plan.nodes if each.name == failure.node), None)
    rank = state.ranks[failure.rank]
    output = RankOutput(logs, state.name, rank)
    hit = _diagnose(output, state.name, rank, failure.end, evidence).best
    if node is None or hit is None:
        return None
    return Subject(
        run=plan.run,
        node=node,
        main_port=plan.main_port,
        rank=rank,
        hit=hit,
        lines=output.last_lines(node.workdir)[1],
        ranks={each.pid: each.rank for each in state.ranks.values()},
        skews={name: each.clock_skew for name, each in nodes.items()},
    )


def _look(subject: Subject, hit: Hit, evidence: NodeEvidence) -> tuple[Hit, tuple[str, ...], bool]:
    """Return `hit` with the cause that was seen on the node, where orch looked, and whether it saw one."""
    from orchestrator.control.looks.model import Known
    from orchestrator.control.looks.registry import look, with_finding

    finding = look(subject, Known(evidence))
    late = (f"asked {lifetime(evidence.delay)} after the rank had ended",)
    looked = (*finding.looked, *(late if evidence.delay > _LATE else ()))
    return with_finding(hit, finding), looked, finding.cause is not None


def _of_node(state: NodeState) -> tuple[str, str]:
    """Return the cause and the fix if a whole node failed."""
    if state.gone is not None:
        return _GONE
    return _DEAD if state.status is not None and state.status.state in DEAD else ("", "")


def _succeeded(nodes: Mapping[str, NodeState]) -> set[int]:
    ranks = (rank for node in nodes.values() for rank in node.ranks.values())
    return {rank.rank for rank in ranks if rank.end is not None and rank.end.succeeded}


def _command(plan: Plan, failure: FirstFailure, channel: Channel) -> str:
    """Return the command that shows the output."""
    if failure.end is None or failure.rank is None:
        return f"orch logs {plan.run} --nodes {failure.node}"
    return f"orch logs {plan.run} --rank {failure.rank} --{channel}"


def _diagnose(
    output: RankOutput,
    node: str,
    rank: RankReport | None,
    end: ProcessEnd,
    evidence: NodeEvidence,
) -> Diagnosis:
    """Match the output of a rank, or a launcher, and what its node knows with the signatures."""
    from orchestrator.diagnose import Evidence, Exit, Source, diagnose
    from orchestrator.diagnose.site_signatures import site_signatures

    number, pid = (None, None) if rank is None else (rank.rank, rank.pid)
    code = -end.signal if end.signal is not None else end.code or 0
    streams = [
        (Source(channel, number, node), [output.tail(channel)]) for channel in output.channels
    ]
    error_files: tuple[tuple[Source, bytes], ...] = ()
    if evidence.error_file is not None:
        error_files = ((Source("error file", number, node), _bytes(evidence.error_file)),)
    kernel = evidence.kernel
    # Of a rank that did not get the signal itself, the kernel killed a process that it had started.
    oom_kills = evidence.kills_of(pid if end.signal is not None else None)
    return diagnose(
        streams,
        Evidence(
            exits=(Exit(number, code, node, pid),),
            kernel_logs={}
            if kernel is None
            else {node: [_bytes(line) for line in evidence.lines_about(pid)]},
            oom_kills={} if oom_kills is None else {node: oom_kills},
            error_files=error_files,
        ),
        site_signatures().signatures,
    )


def _bytes(text: str) -> bytes:
    """Encode text from a node; JSON may contain a lone surrogate, which UTF-8 cannot encode."""
    return text.encode("utf-8", "replace")


def _self_report(diagnosis: Diagnosis) -> SelfReport:
    from orchestrator.diagnose import Kind

    hits = [
        hit for hit in diagnosis.hits if hit.kind in (Kind.ROOT, Kind.CASCADE) and not hit.recovered
    ]
    # An unreachable peer is the first failure only if no peer has failed.
    others = [h for h in hits if h.kind is Kind.CASCADE or h.signature.check == "net.tcp"]
    return "own" if len(hits) > len(others) else "others" if others else ""


def _python_error(diagnosis: Diagnosis | None, evidence: NodeEvidence) -> PythonError | None:
    """Return the exception from torch's error file, otherwise from the output."""
    from orchestrator.diagnose.traceback import read_error_file

    if evidence.error_file is not None:
        read = read_error_file(_bytes(evidence.error_file))
        if read is not None:
            return read[0]
    hits = diagnosis.hits if diagnosis else ()
    return next((hit.error for hit in hits if hit.error is not None), None)


def _place(error: PythonError, node: NodePlan) -> str:
    """Return `train.py:88 in step`, with a path relative to the job's folder."""
    if error.file is None:
        return ""
    file = PurePosixPath(error.file)
    if file.is_relative_to(node.workdir):
        file = file.relative_to(node.workdir)
    function = f" in {error.function}" if error.function and error.function != "<module>" else ""
    return printable(f"{file}:{error.line}{function}", MAX_LINE)


def _kernel_evidence(hit: Hit | None, evidence: NodeEvidence) -> str:
    """Return what the kernel reports about a rank that was killed, or that it reports nothing."""
    if hit is None or hit.signature.id not in _BY_THE_KERNEL:
        if not evidence.oom_kills:
            return ""
        count = "a process" if evidence.oom_kills == 1 else f"{evidence.oom_kills} processes"
        return f"the kernel killed {count} of its control group meanwhile, for lack of memory"
    why = f" ({evidence.why})" if evidence.why and hit.signature.id == _KILLED else ""
    return f"{hit.first.text}{why}"
