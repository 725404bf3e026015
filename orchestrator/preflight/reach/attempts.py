"""Attempts to connect from one node to another, and what each outcome says about who stops it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from orchestrator.preflight.answers import optional, text

Door = Literal["main", "ephemeral"]
"""The port that was tried: the job's main port, or one that the kernel gave."""


class Way(NamedTuple):
    """From one node to a port of another."""

    source: str
    target: str
    door: Door


class Cause(StrEnum):
    """What came of an attempt."""

    PASSED = "passed"
    DROPPED = "dropped"  # no answer at all
    REFUSED = "refused"  # a reset, as a host sends it where nobody listens
    REJECTED = "rejected"  # an ICMP message that somebody's rules sent
    UNKNOWN_NEIGHBOUR = "unknown neighbour"  # nobody there answers ARP
    NO_ROUTE = "no route"
    PROHIBITED = "prohibited"  # by the source's own kernel
    FOREIGN = "foreign"  # another service answered
    SILENT = "silent"
    CLOSED = "closed"
    ERROR = "error"


_CAUSES = {
    "ok": Cause.PASSED,
    "timeout": Cause.DROPPED,
    "no-route": Cause.NO_ROUTE,
    "prohibited": Cause.PROHIBITED,
    "foreign": Cause.FOREIGN,
    "silent": Cause.SILENT,
    "closed": Cause.CLOSED,
    "reset": Cause.CLOSED,
    "error": Cause.ERROR,
}

# The kernel asks for a neighbour three times, a second apart; a rejection comes at once.
_NEIGHBOUR_TIME = 0.5
# ICMP destination unreachable and "host (address) unreachable": by type, that code.
_HOST_UNREACHABLE = {(3, 1), (1, 3)}


@dataclass(frozen=True)
class Outcome:
    """How one attempt ended (`node/probe.py` has the words of `result`).

    `seconds` until it was known; of an attempt that passed, the round trip. `local` is the source's own
    address, `seen` the one that the listener saw. `by` sent the ICMP message, if that was it. `words` is
    how a foreign service's begin, or what went wrong.
    """

    result: str
    seconds: float
    local: str | None = None
    seen: str | None = None
    icmp: tuple[int, int] | None = None
    by: str | None = None
    words: str = ""

    @classmethod
    def parse(cls, raw: Any) -> Outcome:
        """Return the outcome that a node told. Raises as a probe's parser does."""
        icmp = raw.get("icmp")
        return cls(
            result=str(raw["result"]),
            seconds=float(raw["seconds"]),
            local=optional(text, raw.get("local")),
            seen=optional(text, raw.get("source")),
            icmp=None if icmp is None else (int(icmp[0]), int(icmp[1])),
            by=optional(text, raw.get("by")),
            words=text(raw.get("said") or raw.get("text") or ""),
        )

    @property
    def passed(self) -> bool:
        return self.cause is Cause.PASSED

    @property
    def cause(self) -> Cause:
        """What came of it; a word that nobody knows is an error."""
        if self.result == "refused":
            return Cause.REFUSED if self.icmp is None else Cause.REJECTED
        if self.result == "unreachable":
            asked_in_vain = self.seconds >= _NEIGHBOUR_TIME and (
                self.icmp is None or (self.icmp in _HOST_UNREACHABLE and self.by == self.local)
            )
            return Cause.UNKNOWN_NEIGHBOUR if asked_in_vain else Cause.REJECTED
        return _CAUSES.get(self.result, Cause.ERROR)

    @property
    def translated(self) -> bool:
        """Whether the listener saw another address than the source has."""
        return self.passed and self.seen != self.local

    @property
    def side(self) -> Literal["source", "target"] | None:
        """Who surely stops it; None where it may be either, or something between them."""
        if self.cause in (Cause.NO_ROUTE, Cause.PROHIBITED):
            return "source"
        if self.cause is Cause.REJECTED and self.by is not None:
            return "source" if self.by == self.local else "target"
        if self.cause in (Cause.FOREIGN, Cause.SILENT, Cause.CLOSED):
            return "target"
        return None


Outcomes = Mapping[Way, Outcome]
