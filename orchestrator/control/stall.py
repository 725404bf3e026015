"""Detect that a run makes no progress, and report what it waits for (see decision 11).

While ranks print, the nodes are not asked. After half of the time without output, each node is asked for
snapshots of its ranks until the time is up. If they show no progress, the run has stalled. That is
reported once, with the places of all ranks, and again only after there was progress.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from orchestrator import events
from orchestrator.control.follower import Follower
from orchestrator.errors import NodeError
from orchestrator.hangs.progress import has_progressed
from orchestrator.hangs.snapshot import Snapshot, take_snapshot
from orchestrator.hangs.suspects import (
    connection_lines,
    find_suspect,
    nodes_by_address,
    stack_lines,
)
from orchestrator.plan import Plan

_POLLS = 8  # in the time without progress; the first half of them takes no snapshots
_MIN_INTERVAL, _MAX_INTERVAL = 0.5, 10.0  # seconds between them
_SNAPSHOT_TIMEOUT = 10.0  # seconds
_STACKS_TIMEOUT = 20.0
# Seconds that the rendezvous of an elastic run may take once a rank has ended: 30 for ranks that ignore
# SIGTERM, 15 to notice that a node is gone, and 10 to wait for more nodes.
_RENDEZVOUS_TIME = 60.0


class StallWatch:
    """Watches the progress of one run; at each stall, `on_stall` is called with the suspected cause.

    `is_stalled`: an earlier controller has reported the stall.
    """

    def __init__(
        self,
        nodes: Sequence[Follower],
        plan: Plan,
        seconds: float,
        emit: events.Emit,
        on_stall: Callable[[str], Awaitable[None]] | None = None,
        *,
        is_stalled: bool = False,
    ) -> None:
        self._nodes = nodes
        self._plan = plan
        self._seconds = seconds
        self._interval = min(_MAX_INTERVAL, max(_MIN_INTERVAL, seconds / _POLLS))
        self._emit = emit
        self._on_stall = on_stall
        self._progress_at = time.monotonic()
        self._stalled_at = self._progress_at if is_stalled else None
        self._first: dict[str, Snapshot] = {}  # by node, since the last progress
        self._last: dict[str, Snapshot] = {}

    async def watch(self) -> None:
        """Watch until all nodes are asked to stop."""
        while True:
            await asyncio.sleep(self._interval)
            active = self._active_nodes()
            if active and all(node.state.stopped_at is not None for node in active):
                return
            if self._quiet_for() >= self._timeout() / 2:
                await self._check()

    def _quiet_for(self) -> float:
        """Return the seconds without progress; output and reports of ranks count as progress."""
        heard = max(node.heard_at for node in self._nodes)
        if heard > self._progress_at:
            self._note_progress(heard)
        return time.monotonic() - self._progress_at

    def _timeout(self) -> float:
        """Return the seconds without progress that are a stall; more during a rendezvous."""
        ranks = [rank for node in self._active_nodes() for rank in node.state.ranks.values()]
        if self._plan.elastic is None or all(rank.end is None for rank in ranks):
            return self._seconds
        return max(self._seconds, _RENDEZVOUS_TIME)

    def _note_progress(self, at: float) -> None:
        self._progress_at = at
        self._first = self._last = {}
        if self._stalled_at is not None:
            self._emit(events.Resumed(at - self._stalled_at))
            self._stalled_at = None

    async def _check(self) -> None:
        found = await self._take_snapshots(_SNAPSHOT_TIMEOUT, brief=True)
        if found is None or found.keys() != self._last.keys():
            self._first = self._last = found or {}  # a node that does not answer may make progress
            return
        # Compared with the first ones too, since slow progress counts.
        earlier = (self._first, self._last)
        if any(
            has_progressed(before[name], now) for before in earlier for name, now in found.items()
        ):
            self._note_progress(time.monotonic())
        elif self._quiet_for() >= self._timeout() and self._stalled_at is None:
            await self._report_stall()
        self._first, self._last = self._first or found, found

    async def _report_stall(self) -> None:
        found = await self._take_snapshots(_STACKS_TIMEOUT, brief=False)
        if found is None or self._quiet_for() < self._timeout():
            return
        snapshots, names = list(found.values()), nodes_by_address(self._plan)
        suspect = find_suspect(snapshots, names, self._ended())
        stalled = events.Stalled(
            self._quiet_for(), stack_lines(snapshots), connection_lines(snapshots, names), suspect
        )
        self._stalled_at = self._progress_at
        self._emit(stalled)
        if self._on_stall is not None:
            await self._on_stall(suspect or " · ".join(stalled.stacks))

    async def _take_snapshots(self, timeout: float, *, brief: bool) -> dict[str, Snapshot] | None:
        """Return a snapshot of each active node; None if one of them does not answer."""
        nodes = self._active_nodes()

        async def ask_one(node: Follower) -> Snapshot | None:
            try:
                return await take_snapshot(
                    node.connection.agent, self._plan.run, node.name, limit=timeout, brief=brief
                )
            except NodeError:
                return None

        answers = await asyncio.gather(*(ask_one(node) for node in nodes))
        found = {snapshot.node: snapshot for snapshot in answers if snapshot is not None}
        return found if len(found) == len(nodes) > 0 else None

    def _active_nodes(self) -> list[Follower]:
        """Return the nodes with ranks that may make progress: not those where all ranks have succeeded."""
        return [
            node
            for node in self._nodes
            if not node.has_ended and node.gone is None and not _has_succeeded(node)
        ]

    def _ended(self) -> dict[int, str]:
        """Return how ranks ended, by rank."""
        ends = {rank.rank: rank.end for node in self._nodes for rank in node.state.ranks.values()}
        return {
            rank: f"exited with {end.code}" if end.signal is None else "was killed"
            for rank, end in ends.items()
            if end is not None
        }


def _has_succeeded(node: Follower) -> bool:
    status = node.state.status
    return status is not None and status.behind is not None
