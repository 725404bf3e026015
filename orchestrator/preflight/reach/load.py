"""How busy a node is."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.preflight.answers import reader
from orchestrator.preflight.model import NoAnswer, Probe


@dataclass(frozen=True)
class Load:
    """How many processes ran or waited in the last minute, on average, and the cores for them."""

    load: float
    cores: int

    def __str__(self) -> str:
        return f"load {self.load:.0f} on {self.cores} core{'' if self.cores == 1 else 's'}"


LOAD: Probe[Load] = Probe("limits.load", reader(Load))


def described(load: Load | NoAnswer) -> str:
    """Return the load in parentheses after a blank; empty if it is not known."""
    return f" ({load})" if isinstance(load, Load) else ""
