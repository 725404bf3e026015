"""Whether a run progresses, from two snapshots of a node. Pure; decision 11 has the reasons.

A rank progresses if it uses CPU, reads or writes, or its stack changes. One that burns CPU in a call in
which ranks wait for each other, with the same stack as before, does not: NCCL waits by polling.
"""

from __future__ import annotations

from orchestrator.hangs.locations import location_of
from orchestrator.hangs.snapshot import Process, Snapshot

_BUSY = 0.05  # of a core; watchdogs and heartbeats use less
_MIN_CPU = 0.1  # seconds of CPU that count, however short the interval: clocks tick in 0.01
_SPINNING = 0.8  # of a core, in the main thread
_MIN_BYTES = 1 << 18  # read or written; taking stacks writes some thousands


def has_progressed(before: Snapshot, after: Snapshot) -> bool:
    """Return whether anything of the run progressed between two snapshots of a node."""
    seconds = max(after.at - before.at, 0.001)
    old = {process.pid: process for process in before.processes}
    if {process.pid for process in after.own} != {process.pid for process in before.own}:
        return True  # a rank started, or ended
    ranks = {process.rank for process in after.own}
    return any(_rank_has_progressed(old, after.of_rank(rank), seconds) for rank in ranks)


def _rank_has_progressed(
    old: dict[int, Process], processes: tuple[Process, ...], seconds: float
) -> bool:
    """Return it for one rank or launcher, the first of its `processes`."""
    used = sum(p.used - (old[p.pid].used if p.pid in old else 0.0) for p in processes)
    moved = sum(p.moved - (old[p.pid].moved if p.pid in old else 0) for p in processes)
    own = processes[0]
    before = old[own.pid]
    has_new_stack = bool(before.stack) and bool(own.stack) and before.stack != own.stack
    if moved > _MIN_BYTES or (own.rank is not None and has_new_stack):
        return True
    if used <= max(_BUSY * seconds, _MIN_CPU):
        return False
    location = location_of(own.stack)
    is_spinning = own.main_used - before.main_used >= _SPINNING * seconds
    return location is None or not location.is_wait or not is_spinning
