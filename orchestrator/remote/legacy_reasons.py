"""What orch 0.1.0 wrote in English where there are values now: in its records, and in the status of its
supervisors, which may still run.
"""

from __future__ import annotations

import re
from signal import Signals

from orchestrator.node.reasons import UNASKED, StopReason
from orchestrator.reasons import WITHOUT_DETAIL, Stop

_FIXED = {
    **{str(Stop(reason)): reason for reason in WITHOUT_DETAIL},
    "the others went on without it": StopReason.NODE_LEFT,  # verbatim
    "the run goes on without this node": StopReason.NODE_REPLACED,  # verbatim
    "orch is ending": StopReason.CONTROLLER_ENDING,
}
_TIME_LIMIT = re.compile(r"timed out after ([0-9.e+]{1,20}) s")
_STALL = re.compile(r"stalled: (.*)", re.DOTALL)
_NODE_FAILED = re.compile(r"(.+) failed", re.DOTALL)
_NODE_STOPPED = re.compile(r"(\S+) stopped: (.*)", re.DOTALL)
_LAUNCHER_HANGS = re.compile(
    r"every rank has ended; the launcher on (.*) has not, ([0-9.e+]{1,20}) s later"
)
_SIGNALLED = re.compile(
    r"the supervisor was told to stop"  # verbatim
    r"(?: \((SIG[A-Z0-9+]{1,12}) from process ([0-9]{1,10})\))?"
)
_LEASE = re.compile(r"no controller was heard of(?: for ([0-9.e+]{1,20}) s)?")
_DETAIL = re.compile(r"[:;] ")
_COUNTED = re.compile(r"memory\.events of .*: oom_kill grew by ([0-9]{1,9})")


def parse_stop(sentence: str) -> Stop:
    """Return why a node was stopped, from the sentence that said so; OTHER where it is no known one."""
    if sentence in _FIXED:
        return Stop(_FIXED[sentence])
    if found := _TIME_LIMIT.fullmatch(sentence):
        return Stop(StopReason.TIME_LIMIT, seconds=_number(found[1]))
    if found := _STALL.fullmatch(sentence):
        return Stop(StopReason.STALL, text=found[1])
    if found := _LAUNCHER_HANGS.fullmatch(sentence):
        return Stop(StopReason.LAUNCHER_HANGS, text=found[1], seconds=_number(found[2]))
    if found := _SIGNALLED.fullmatch(sentence):
        known = found[1] in Signals.__members__
        number = int(Signals[found[1]]) if known else None
        pid = int(found[2]) if known else None
        return Stop(StopReason.SUPERVISOR_SIGNALLED, signal=number, pid=pid)
    if found := _LEASE.fullmatch(sentence):
        return Stop(StopReason.LEASE_EXPIRED, seconds=_number(found[1]))
    if found := _NODE_STOPPED.fullmatch(sentence):
        cause = parse_stop(found[2])
        if cause.reason in UNASKED:
            return cause.of_node(found[1])
    if found := _NODE_FAILED.fullmatch(sentence):
        return Stop(StopReason.NODE_FAILED, node=found[1])
    return Stop(StopReason.OTHER, text=sentence)


def parse_summary(summary: str, exit_code: int | None) -> Stop | None:
    """Return the time limit with which a run ended, from its summary; None where it ended otherwise."""
    if exit_code == 124 and (found := _TIME_LIMIT.match(summary)):
        return Stop(StopReason.TIME_LIMIT, seconds=_number(found[1]))
    return None


def detail_of_summary(summary: str) -> str:
    """Return the end of a summary that adds to how the run ended: `: r1 get (train.py:11)`, or empty."""
    found = _DETAIL.search(summary)
    return "" if found is None else summary[found.start() :]


def parse_oom_kills(evidence: str) -> int | None:
    """Return how many processes the kernel killed, where the evidence of a verdict is that count."""
    found = _COUNTED.fullmatch(evidence)
    return None if found is None else int(found[1])


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
