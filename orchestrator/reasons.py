"""Why a run is stopped, as a value, and the only place that has the wording."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from signal import SIGHUP, SIGTERM
from typing import Any

from orchestrator.node.reasons import StopReason
from orchestrator.util.signals import signal_name

PEOPLE = (
    StopReason.INTERRUPT,
    StopReason.INTERRUPT_TWICE,
    StopReason.STOP_REQUEST,
    StopReason.SIGTERM,
    StopReason.SIGHUP,
)
"""The reasons that mean that the user stopped the run."""

_WORDS = {
    StopReason.INTERRUPT: "interrupted",
    StopReason.INTERRUPT_TWICE: "interrupted twice",
    StopReason.STOP_REQUEST: "orch stop",
    StopReason.SIGTERM: "SIGTERM",
    StopReason.SIGHUP: "SIGHUP",
    StopReason.RANK_FAILED: "a rank failed",
    StopReason.LAUNCHER_FAILED: "a launcher failed",
    StopReason.START_FAILED: "a node could not start",
    StopReason.NODE_LEFT: "the run continued without it",
    StopReason.NODE_REPLACED: "the run continues without this node",
    StopReason.RUN_ENDED: "the run has ended",
    StopReason.CONTROLLER_ENDING: "orch is exiting",
    StopReason.TRIAL_OVER: "the trial is over",
}

WITHOUT_DETAIL = tuple(_WORDS)
"""The reasons that have no detail."""


@dataclass(frozen=True)
class Stop:
    """A reason with its detail (see `StopReason`); parts that it does not have keep their defaults.

    `seconds` is the length of a time limit, a lease or a wait; `signal` came from process `pid`; `because`
    is why the `node` stopped.
    """

    reason: StopReason
    node: str = ""
    text: str = ""
    seconds: float | None = None
    signal: int | None = None
    pid: int | None = None
    because: StopReason | None = None

    def __str__(self) -> str:
        if self.reason in _WORDS:
            return _WORDS[self.reason]
        after = "" if self.seconds is None else f" {self.seconds:g} s"
        match self.reason:
            case StopReason.TIME_LIMIT:
                return f"timed out{after and f' after{after}'}"
            case StopReason.STALL:
                return f"stalled: {self.text}" if self.text else "stalled"
            case StopReason.NODE_FAILED:
                return f"{self.node or 'a node'} failed"
            case StopReason.NODE_STOPPED:
                why = "" if self.because is None else f": {self._cause}"
                return f"{self.node or 'a node'} stopped{why}"
            case StopReason.LAUNCHER_HANGS:
                where, later = self.text and f" on {self.text}", after and f",{after} later"
                return f"every rank has ended; the launcher{where} has not{later}"
            case StopReason.SUPERVISOR_SIGNALLED:
                return f"the supervisor {self._signalled}"
            case StopReason.LEASE_EXPIRED:
                return f"no contact with a controller{after and f' for{after}'}"
        return self.text or "a reason that this version of orch does not know"

    @property
    def brief(self) -> str:
        """The reason in words, without where ranks stalled or what made a node stop."""
        return str(replace(self, text="", because=None))

    def of_node(self, node: str) -> Stop:
        """Return why the other nodes are stopped after `node` stopped for this reason."""
        return replace(self, reason=StopReason.NODE_STOPPED, node=node, because=self.reason)

    @property
    def detail(self) -> dict[str, Any]:
        """The parts other than the reason, as JSON."""
        parts = {part.name: getattr(self, part.name) for part in fields(self)[1:]}
        return {
            name: part.value if isinstance(part, StopReason) else part
            for name, part in parts.items()
            if part not in (None, "")
        }

    @property
    def _cause(self) -> Stop:
        assert self.because is not None
        return replace(self, reason=self.because, node="", because=None)

    @property
    def _signalled(self) -> str:
        if self.signal is None:
            return "was asked to stop"
        sender = "" if self.pid is None else f" from process {self.pid}"
        return f"received {signal_name(self.signal)}{sender}"


def reason_of_signal(number: int | None) -> StopReason:
    """Return why a run is stopped if its controller receives this signal; None is like SIGINT."""
    known = {int(SIGTERM): StopReason.SIGTERM, int(SIGHUP): StopReason.SIGHUP}
    return known.get(number or 0, StopReason.INTERRUPT)
