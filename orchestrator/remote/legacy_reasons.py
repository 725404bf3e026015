"""Parse the sentences of orch 0.1.0 into values.

They occur in its records, and in the status of its supervisors, which may still be running.
"""

from __future__ import annotations

import re
from signal import Signals
from typing import Any

from orchestrator.node.reasons import UNASKED, StopReason
from orchestrator.reasons import WITHOUT_DETAIL, Stop

_FIXED = {
    **{str(Stop(reason)): reason for reason in WITHOUT_DETAIL},
    "the others went on without it": StopReason.NODE_LEFT,  # verbatim
    "the run goes on without this node": StopReason.NODE_REPLACED,  # verbatim
    "orch is ending": StopReason.CONTROLLER_ENDING,
}
_SECONDS = r"(?P<seconds>[0-9.e+]{1,20}) s"
_TIME_LIMIT = re.compile(rf"timed out after {_SECONDS}")
_PATTERNS = {
    StopReason.TIME_LIMIT: _TIME_LIMIT,
    StopReason.STALL: re.compile(r"stalled: (?P<text>.*)", re.DOTALL),
    StopReason.LAUNCHER_HANGS: re.compile(
        rf"every rank has ended; the launcher on (?P<text>.*) has not, {_SECONDS} later"
    ),
    StopReason.SUPERVISOR_SIGNALLED: re.compile(
        r"the supervisor was told to stop"  # verbatim
        r"(?: \((?P<signal>SIG[A-Z0-9+]{1,12}) from process (?P<pid>[0-9]{1,10})\))?"
    ),
    StopReason.LEASE_EXPIRED: re.compile(rf"no controller was heard of(?: for {_SECONDS})?"),
    StopReason.NODE_FAILED: re.compile(r"(?P<node>.+) failed", re.DOTALL),
}
_NODE_STOPPED = re.compile(r"(\S+) stopped: (.*)", re.DOTALL)
_DETAIL = re.compile(r"[:;] ")
_OOM_KILLS = re.compile(r"memory\.events of .*: oom_kill grew by ([0-9]{1,9})")


def parse_stop(sentence: str) -> Stop:
    """Return why a node was stopped, from its sentence; OTHER if the sentence is unknown."""
    if sentence in _FIXED:
        return Stop(_FIXED[sentence])
    if found := _NODE_STOPPED.fullmatch(sentence):
        cause = parse_stop(found[2])
        if cause.reason in UNASKED:
            return cause.of_node(found[1])
    for reason, pattern in _PATTERNS.items():
        if found := pattern.fullmatch(sentence):
            return Stop(reason, **_detail(found))
    return Stop(StopReason.OTHER, text=sentence)


def parse_summary(summary: str, exit_code: int | None) -> Stop | None:
    """Return the time limit that ended a run, from its summary; None if it ended otherwise."""
    if exit_code == 124 and (found := _TIME_LIMIT.match(summary)):
        return Stop(StopReason.TIME_LIMIT, **_detail(found))
    return None


def detail_of_summary(summary: str) -> str:
    """Return the detail at the end of a summary: `: r1 get (train.py:11)`, or empty."""
    found = _DETAIL.search(summary)
    return "" if found is None else summary[found.start() :]


def parse_oom_kills(evidence: str) -> int | None:
    """Return how many processes the kernel killed; None for any other evidence."""
    found = _OOM_KILLS.fullmatch(evidence)
    return None if found is None else int(found[1])


def _detail(found: re.Match[str]) -> dict[str, Any]:
    """Return the detail of a reason, without a signal that this system does not know."""
    detail: dict[str, Any] = found.groupdict()
    if "seconds" in detail:
        detail["seconds"] = _number(detail["seconds"])
    if "signal" in detail:
        number = Signals.__members__.get(detail["signal"])
        detail = {} if number is None else {"signal": int(number), "pid": int(detail["pid"])}
    return detail


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
