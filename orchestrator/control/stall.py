"""Notice when a run does not get on any more, and say what keeps it. Decision 11 says what that is.

Nothing is asked of the nodes while ranks print. After half of the time without a word they are looked at,
some times until it is over. When nothing has moved by then, the run is stalled: that is told once, with
where all ranks are, and again only after it has moved in between.
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

_LOOKS = 8  # in the time without a word; the first half of them is spared
_SHORTEST, _LONGEST = 0.5, 10.0  # seconds between them
_LOOK_TIME = 10.0  # seconds that a node has for one
_STACKS_TIME = 20.0
# Seconds in which the launchers of an elastic run meet once a rank has ended: 30 for others that do not
# heed SIGTERM, 15 until they believe that a node is gone, and 10 in which others may come.
_MEETING = 60.0


class StallWatch:
    """Minds one run; `on_stall` is called with what keeps it, each time that it stalls.

    `is_stalled` says that another controller has told so already.
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
        self._pause = min(_LONGEST, max(_SHORTEST, seconds / _LOOKS))
        self._emit = emit
        self._on_stall = on_stall
        self._moved_at = time.monotonic()
        self._stalled_at = self._moved_at if is_stalled else None
        self._first: dict[str, Snapshot] = {}  # by node, since it moved last
        self._last: dict[str, Snapshot] = {}

    async def watch(self) -> None:
        """Look, until the nodes are told to stop."""
        while True:
            await asyncio.sleep(self._pause)
            going_on = self._going_on()
            if going_on and all(node.state.stopped_at is not None for node in going_on):
                return
            if self._quiet() >= self._patience() / 2:
                await self._look()

    def _quiet(self) -> float:
        """Return for how long nothing has moved, seconds; what was heard of ranks counts."""
        heard = max(node.heard_at for node in self._nodes)
        if heard > self._moved_at:
            self._has_moved(heard)
        return time.monotonic() - self._moved_at

    def _patience(self) -> float:
        """Return for how long nothing may move, seconds: longer while launchers meet."""
        ranks = [rank for node in self._going_on() for rank in node.state.ranks.values()]
        if self._plan.elastic is None or all(rank.end is None for rank in ranks):
            return self._seconds
        return max(self._seconds, _MEETING)

    def _has_moved(self, at: float) -> None:
        self._moved_at = at
        self._first = self._last = {}
        if self._stalled_at is not None:
            self._emit(events.Resumed(at - self._stalled_at))
            self._stalled_at = None

    async def _look(self) -> None:
        looks = await self._ask_all(_LOOK_TIME, brief=True)
        if looks is None or looks.keys() != self._last.keys():
            self._first = self._last = looks or {}  # who cannot be asked may get on
            return
        # By the first of them too: little by little is work as well.
        earlier = (self._first, self._last)
        if any(
            has_progressed(before[name], look) for before in earlier for name, look in looks.items()
        ):
            self._has_moved(time.monotonic())
        elif self._quiet() >= self._patience() and self._stalled_at is None:
            await self._tell()
        self._first, self._last = self._first or looks, looks

    async def _tell(self) -> None:
        found = await self._ask_all(_STACKS_TIME, brief=False)
        if found is None or self._quiet() < self._patience():
            return
        looks, names = list(found.values()), nodes_by_address(self._plan)
        suspect = find_suspect(looks, names, self._ended())
        stalled = events.Stalled(
            self._quiet(), stack_lines(looks), connection_lines(looks, names), suspect
        )
        self._stalled_at = self._moved_at
        self._emit(stalled)
        if self._on_stall is not None:
            await self._on_stall(suspect or " · ".join(stalled.stacks))

    async def _ask_all(self, seconds: float, *, brief: bool) -> dict[str, Snapshot] | None:
        """Return what every node tells whose share goes on; None where one cannot be asked."""
        nodes = self._going_on()

        async def ask_one(node: Follower) -> Snapshot | None:
            try:
                return await take_snapshot(
                    node.connection.agent, self._plan.run, node.name, limit=seconds, brief=brief
                )
            except NodeError:
                return None

        answers = await asyncio.gather(*(ask_one(node) for node in nodes))
        looks = {look.node: look for look in answers if look is not None}
        return looks if len(looks) == len(nodes) > 0 else None

    def _going_on(self) -> list[Follower]:
        """Return the nodes whose ranks may get on: not those that wait for what their ranks have left."""
        return [
            node
            for node in self._nodes
            if not node.has_ended and node.gone is None and not _has_succeeded(node)
        ]

    def _ended(self) -> dict[int, str]:
        """Return how ranks ended that are not there any more."""
        ends = {rank.rank: rank.end for node in self._nodes for rank in node.state.ranks.values()}
        return {
            rank: f"exited with {end.code}" if end.signal is None else "was killed"
            for rank, end in ends.items()
            if end is not None
        }


def _has_succeeded(node: Follower) -> bool:
    status = node.state.status
    return status is not None and status.behind is not None
