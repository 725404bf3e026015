"""One node's share of a run, as the controller sees it: follow it, keep its bytes, tell it to stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from orchestrator import events
from orchestrator.errors import LaunchError, NodeError
from orchestrator.logs.store import GapError
from orchestrator.logs.stream import Stream
from orchestrator.plan import NodePlan
from orchestrator.remote.fleet import Fleet
from orchestrator.remote.reports import Chunk, RankReport, StatusReport
from orchestrator.runs.record import Record
from orchestrator.runs.verdict import NodeState

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0  # seconds between attempts to come back to a node


class Follower:
    """Follows the share of `run` on the node at `index` of `fleet`.

    `emit` hears what happens, `on_news` that a rank or the supervisor has changed its state.
    """

    def __init__(
        self,
        run: str,
        plan: NodePlan,
        fleet: Fleet,
        index: int,
        record: Record,
        emit: events.Emit,
        on_news: Callable[[], None],
        clock_skew: float,
    ) -> None:
        self._run = run
        self._plan = plan
        self._fleet = fleet
        self._index = index
        self._record = record
        self._emit = emit
        self._on_news = on_news
        self._clock_skew = clock_skew
        self._streams: dict[str, Stream] = {}
        self._ranks: dict[int, RankReport] = {}
        self._status: StatusReport | None = None
        self._swept = False
        self._told: tuple[str, float] | None = None  # to stop: why, and with what grace
        self._stopped_at: float | None = None
        self._keeps = True
        self.heard_at = 0.0
        """When the node last told anything new (time.monotonic)."""

    @property
    def name(self) -> str:
        return self._plan.name

    @property
    def state(self) -> NodeState:
        """What is known of the node's share."""
        return NodeState(self.name, self._ranks, self._status, self._clock_skew, self._stopped_at)

    @property
    def has_ended(self) -> bool:
        return self._status is not None and self._status.state in ("ended", "lost")

    # -- following -----------------------------------------------------------------------------

    async def follow(self) -> None:
        """Follow to the end, coming back after a lost connection for as long as it takes."""
        pause, lost = _FIRST_PAUSE, False
        while True:
            began = time.monotonic()
            try:
                await self._follow_connection()
                return
            except (NodeError, GapError) as error:
                if not lost:
                    lost = True
                    self._emit(events.NodeLost(self.name, str(error)))
            if time.monotonic() - began > _LONGEST_PAUSE:
                pause = _FIRST_PAUSE  # it was well for a while
            while True:
                await asyncio.sleep(pause)
                pause = min(_LONGEST_PAUSE, pause * 2)
                with suppress(LaunchError):  # still away: NodeLost has said so
                    await self._fleet.reconnect(self._index)
                    break
            lost = False
            self._emit(events.NodeBack(self.name))
            if self._told is not None:
                await self.stop(*self._told)

    async def _follow_connection(self) -> None:
        agent = self._fleet.agents[self._index]
        offsets = self._record.store.sizes(self.name)
        async for report in agent.follow(self._run, offsets):
            if isinstance(report, Chunk):
                self._keep(report)
            elif isinstance(report, RankReport):
                self._note_rank(report)
            elif report != self._status:
                self._status = report
                self._note_news()
        if self._status is not None and self._status.state == "lost" and not self._swept:
            # Nobody minds these ranks any more. What they wrote until the sweep is fetched after it.
            answer = await agent.ask("sweep", run=self._run, node=self.name)
            self._swept = True
            self._status = StatusReport("lost", self._status.launcher, tuple(answer["left"]))
            await self._follow_connection()

    def _keep(self, chunk: Chunk) -> None:
        """Keep the bytes that are new, and show them."""
        if not self._keeps:
            return
        stream = self._streams.get(chunk.path)
        if stream is None:
            stream = self._streams[chunk.path] = self._stream_of(chunk.path)
        try:
            fresh = self._record.store.append(stream, chunk.offset, chunk.data, chunk.time)
        except OSError as error:
            self._keeps = False
            message = f"the logs of {self.name} cannot be kept here: {error.strerror}"
            self._emit(events.Warned(f"{message}; all of them are on the node"))
            return
        if fresh:
            self.heard_at = time.monotonic()
            offset = chunk.offset + len(chunk.data) - len(fresh)
            copy = self._record.folder / "logs" / self.name / chunk.path
            self._emit(events.Output(stream, offset, fresh, chunk.time, copy))

    def _stream_of(self, path: str) -> Stream:
        """Return the stream that the node means by `path`. Raises NodeError when there can be none."""
        try:
            stream = Stream.parse(self.name, path)
            if stream.rank is None:
                return stream
            self._check_rank(stream.rank)
            return Stream.parse(self.name, path, stream.rank - self._plan.first_rank)
        except ValueError as error:
            raise NodeError(str(error)) from None

    def _check_rank(self, rank: int) -> None:
        if rank not in self._plan.ranks:
            raise NodeError(f"{self.name}: it speaks of rank {rank}, which is not one of its own")

    def _note_rank(self, report: RankReport) -> None:
        self._check_rank(report.rank)
        known = self._ranks.get(report.rank)
        if known is not None and (
            known.attempt > report.attempt
            or (known.attempt, known.end) == (report.attempt, report.end)
        ):
            return  # told again after a new connection, or of an attempt that is past
        self._ranks[report.rank] = report
        if report.end is not None and report.ended is not None:
            end = report.end
            self._emit(events.RankEnded(report.rank, self.name, end.code, end.signal, report.ended))
        self._note_news()

    def _note_news(self) -> None:
        self.heard_at = time.monotonic()
        self._on_news()

    # -- stopping ------------------------------------------------------------------------------

    async def stop(self, reason: str, grace: float) -> None:
        """Tell the node to stop its share; what keeps it from hearing that is told as a warning."""
        self._told = (reason, grace)
        first = self._stopped_at is None
        if first:
            self._stopped_at = time.time() + self._clock_skew
        try:
            agent = self._fleet.agents[self._index]
            answer = await agent.ask(
                "stop", run=self._run, node=self.name, grace=grace, reason=reason
            )
            if first:
                self._stopped_at = float(answer["time"])  # by its own clock, which may have drifted
            if not answer["alive"] and not self.has_ended:
                await agent.ask("sweep", run=self._run, node=self.name)
        except (NodeError, KeyError, TypeError, ValueError) as error:
            self._emit(events.Warned(f"{self.name} could not be told to stop: {error}"))
