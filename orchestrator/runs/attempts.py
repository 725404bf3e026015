"""What is kept of the attempts of a run that have failed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Attempt:
    """One attempt that failed: its logs are in `attempt-<number>` to `attempt-<last>`, several where the
    launcher has started ranks again. Times are seconds since the epoch.

    `lost` are the nodes that are not used again: what they still ran could not be seen to end.
    """

    number: int
    last: int
    began: float
    ended: float
    exit_code: int
    summary: str
    lost: tuple[str, ...] = ()
