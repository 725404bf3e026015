"""Attempts to connect from one node to another, and what each outcome tells about its cause."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from orchestrator.preflight.answers import text
from orchestrator.util.answers import optional


class Way(NamedTuple):
    """From one node to a port of another: the job's main port, or one that the kernel chose."""

    source: str
    target: str
    port: Literal["main", "ephemeral"]


class Cause(StrEnum):
    """How an attempt ended; most values are those of `result` in `node/probe.py`."""

    PASSED = "ok"
    DROPPED = "timeout"  # no answer at all
    REFUSED = "refused"  # a TCP reset, as a host sends it for a closed port
    REJECTED = "rejected"  # an ICMP message sent by a firewall rule
    UNKNOWN_NEIGHBOUR = "unknown neighbour"  # no host answers ARP for the address
    NO_ROUTE = "no-route"
    PROHIBITED = "prohibited"  # by the source's own kernel
    TABLE_FULL = "table-full"  # the source's kernel has no room for another neighbour
    FOREIGN = "foreign"  # another service answered
    SILENT = "silent"
    CLOSED = "closed"
    ERROR = "error"

    @classmethod
    def _missing_(cls, value: object) -> Cause:
        return cls.CLOSED if value == "reset" else cls.ERROR


# The kernel asks for a neighbour three times, one second apart; a rejection comes at once.
_MIN_NEIGHBOUR_SECONDS = 0.5
# ICMP destination unreachable with the code "host (address) unreachable": (type, code) of IPv4 and IPv6.
_HOST_UNREACHABLE = {(3, 1), (1, 3)}


@dataclass(frozen=True)
class Outcome:
    """How one attempt ended (`node/probe.py` defines the values of `result`).

    `seconds` is the time until it was known; for an attempt that passed, the round trip. `local` is the
    source's own address, `seen` the one that the listener saw. `icmp` is (type, code) of an ICMP message,
    `by` its sender. `detail` is how a foreign service's answer starts, or the error. `is_late` means that
    it passed at the second try, which has more time.
    """

    result: str
    seconds: float
    local: str | None = None
    seen: str | None = None
    icmp: tuple[int, int] | None = None
    by: str | None = None
    detail: str = ""
    is_late: bool = False

    @classmethod
    def parse(cls, raw: Any) -> Outcome:
        """Return the outcome that a node reported. Raises as a probe's parser does."""
        icmp = raw.get("icmp")
        return cls(
            result=str(raw["result"]),
            seconds=float(raw["seconds"]),
            local=optional(text, raw.get("local")),
            seen=optional(text, raw.get("source")),
            icmp=None if icmp is None else (int(icmp[0]), int(icmp[1])),
            by=optional(text, raw.get("by")),
            detail=text(raw.get("said") or raw.get("text") or ""),
        )

    @property
    def passed(self) -> bool:
        return self.cause is Cause.PASSED

    @property
    def cause(self) -> Cause:
        """What the result means; an unknown one is an error."""
        if self.result == "refused":
            return Cause.REFUSED if self.icmp is None else Cause.REJECTED
        if self.result == "unreachable":
            unanswered = self.seconds >= _MIN_NEIGHBOUR_SECONDS and (
                self.icmp is None or (self.icmp in _HOST_UNREACHABLE and self.by == self.local)
            )
            return Cause.UNKNOWN_NEIGHBOUR if unanswered else Cause.REJECTED
        return Cause(self.result)

    @property
    def is_unanswered(self) -> bool:
        """Whether nothing came in time: from a node that is too busy, or through what drops packets."""
        return self.cause in (Cause.DROPPED, Cause.SILENT)

    @property
    def translated(self) -> bool:
        """Whether the listener saw another address than the source has."""
        return self.passed and self.seen != self.local

    @property
    def side(self) -> Literal["source", "target"] | None:
        """The end that surely stops it; None if it may be either, or something between them."""
        if self.cause in (Cause.NO_ROUTE, Cause.PROHIBITED, Cause.TABLE_FULL):
            return "source"
        if self.cause is Cause.REJECTED and self.by is not None:
            return "source" if self.by == self.local else "target"
        if self.cause in (Cause.FOREIGN, Cause.SILENT, Cause.CLOSED):
            return "target"
        return None


Outcomes = Mapping[Way, Outcome]
