"""Whether a run gets on, by two looks at a node some time apart: pure. Decision 11 says why it is so.

A rank gets on when it uses CPU, reads or writes, or is at another place of its code. One that burns CPU in
a call in which ranks wait for each other, at the same place as before, does not: collectives of NCCL wait
by asking again and again.
"""

from __future__ import annotations

from orchestrator.hangs.locations import location_of
from orchestrator.hangs.snapshot import Frame, Process, Snapshot

_BUSY = 0.05  # of a core; watchdogs and heartbeats use less
_TICKS = 0.1  # seconds of CPU that are no sign whatever the time between: clocks tick in 0.01
_SPINNING = 0.8  # of a core, in the main thread
_MUCH = 1 << 18  # bytes read or written; asking for stacks writes some thousands


def has_progressed(before: Snapshot, after: Snapshot) -> bool:
    """Tell whether anything of the run got on between two looks at one node."""
    seconds = max(after.at - before.at, 0.001)
    was = {process.pid: process for process in before.processes}
    own = {process.pid for process in before.own}
    if {process.pid for process in after.own} != own:
        return True  # a rank began, or ended
    return any(_has_moved(was, after.of_rank(rank), seconds) for rank in _ranks(after))


def _ranks(look: Snapshot) -> set[int | None]:
    return {process.rank for process in look.own}


def _has_moved(was: dict[int, Process], now: tuple[Process, ...], seconds: float) -> bool:
    """Tell it of one rank, or launcher, whose processes are `now`, its own the first."""
    nothing = (0.0, 0)
    before = {pid: (process.used, process.moved) for pid, process in was.items()}
    used = sum(process.used - before.get(process.pid, nothing)[0] for process in now)
    moved = sum(process.moved - before.get(process.pid, nothing)[1] for process in now)
    own = now[0]
    if moved > _MUCH or (own.rank is not None and _is_elsewhere(was[own.pid].stack, own.stack)):
        return True
    if used <= max(_BUSY * seconds, _TICKS):
        return False
    place = location_of(own.stack)
    spun = own.main_used - was[own.pid].main_used
    return place is None or not place.is_wait or spun < _SPINNING * seconds


def _is_elsewhere(before: tuple[Frame, ...], now: tuple[Frame, ...]) -> bool:
    return bool(before) and bool(now) and before != now
