"""One node's share of a run, as the controller sees it: follow it, keep its bytes, tell it to stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from signal import SIGKILL
from typing import Any

from orchestrator import events
from orchestrator.errors import NodeError, Refused
from orchestrator.logs.store import GapError
from orchestrator.logs.stream import Stream
from orchestrator.plan import NodePlan
from orchestrator.remote.line import Line
from orchestrator.remote.reports import Chunk, RankReport, Report, StatusReport, moment, pids
from orchestrator.runs.culprit import NodeState
from orchestrator.runs.explain import Known
from orchestrator.runs.record import Record
from orchestrator.runs.verdict import FINAL

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0  # seconds between attempts to come back to a node
_DOUBT = 0.05  # seconds by which clocks may differ from what is known of them
_NO_ROOM_PAUSE = 2.0  # seconds until it is tried again whether the logs can be kept here


_ABSENT = StatusReport("absent", None, ())


class NoRoom(Exception):
    """The bytes that came cannot be kept here; the node has them."""


class Follower:
    """Follows the share of a run that is at the other end of `line`.

    `emit` hears what happens, `on_news` that a rank or the supervisor has changed its state.
    """

    def __init__(
        self,
        plan: NodePlan,
        line: Line,
        record: Record,
        emit: events.Emit,
        on_news: Callable[[], None],
    ) -> None:
        self._run = record.plan.run
        self._elastic = record.plan.elastic
        self._world_size = record.plan.world_size
        self._plan = plan
        self._line = line
        self._record = record
        self._emit = emit
        self._on_news = on_news
        self._clock_skew = record.settings.skews.get(plan.name, 0.0)
        self._skew_at_end: float | None = None
        self._streams: dict[str, Stream] = {}
        self._ranks: dict[int, RankReport] = {}
        self._status: StatusReport | None = None
        self._swept = False
        self._has_strangers = False
        self._told: tuple[str, float] | None = None  # to stop: why, and with what grace
        self._stopped_at: float | None = None
        self._no_room_for: set[str] = set()  # paths: a little of others may fit meanwhile
        self.heard_at = time.monotonic()
        """When the node last told anything new (time.monotonic)."""
        self._away_for = ""
        self.away_since: float | None = None
        """Since when there is no connection to the node (time.monotonic); None while there is one."""
        self.has_all = False
        """Whether the run has ended there and all that it wrote is here."""
        self.gone: str | None = None
        """Why the node counts as failed, though nothing is heard of it."""

    @property
    def name(self) -> str:
        return self._plan.name

    @property
    def line(self) -> Line:
        return self._line

    @property
    def plan(self) -> NodePlan:
        return self._plan

    @property
    def state(self) -> NodeState:
        """What is known of the node's share."""
        # Somebody else may have stopped it before us: another controller, or its lease.
        known = (self._stopped_at, self._status.stopped_at if self._status else None)
        stopped_at = min((at for at in known if at is not None), default=None)
        skew = self._clock_skew if self._skew_at_end is None else self._skew_at_end
        return NodeState(self.name, self._ranks, self._status, skew, stopped_at, self.gone)

    @property
    def has_room(self) -> bool:
        """Whether what comes can be kept here."""
        return not self._no_room_for

    @property
    def has_ended(self) -> bool:
        return self._status is not None and self._status.state in FINAL

    # -- following -----------------------------------------------------------------------------

    async def follow(self) -> None:
        """Follow to the end, coming back after a lost connection for as long as it takes."""
        pause = _FIRST_PAUSE
        while True:
            began = time.monotonic()
            try:
                if not self._line.is_up:
                    await self._line.connect()
                await self._follow_connection()
                return
            except (NodeError, GapError) as error:
                await self._line.close()
                self._note_away(error)
            if self.heard_at > began or time.monotonic() - began > _LONGEST_PAUSE:
                pause = _FIRST_PAUSE  # it was well, if only for a while
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    def _note_away(self, error: Exception) -> None:
        """Tell that the node is away, and again when it turns out that somebody must see to it."""
        cause = str(error)
        if self.away_since is None:
            self.away_since = time.monotonic()
        elif not isinstance(error, Refused) or cause == self._away_for:
            return
        self._away_for = cause
        self._emit(events.NodeLost(self.name, cause))

    async def _follow_connection(self) -> None:
        """Follow over the connection that there is, with as much as can be kept here."""
        self._emit(events.Following(self.name))
        if self.away_since is not None:
            self._emit(events.NodeBack(self.name, time.monotonic() - self.away_since))
            self.away_since = None
        if self._told is not None:
            await self.stop(*self._told)
        while True:
            try:
                await self._follow_to_the_end()
                return
            except NoRoom:
                await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        """Take in reports without bytes for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_NO_ROOM_PAUSE):
                await self._take_reports(quiet=True)
            await asyncio.sleep(_NO_ROOM_PAUSE)

    async def _follow_to_the_end(self) -> None:
        await self._take_reports()
        if self._status is not None and self._status.state == "lost" and not self._swept:
            # Nobody minds these ranks any more. What they wrote until the sweep is fetched after it.
            answer = await self._line.agent.ask("sweep", run=self._run, node=self.name)
            left = _left(self.name, answer)
            self._swept = True
            self._status = replace(self._status, left=left)
            await self._take_reports()
        self.has_all = True
        if self._status is not None:
            self._emit(events.NodeEnded(self.name, self._status.state, self._status.left))

    async def _take_reports(self, *, quiet: bool = False) -> None:
        """Take in what the node tells, until the run has ended there and all of it is told."""
        offsets = self._record.store.sizes(self.name)
        async with aclosing(self._line.agent.follow(self._run, offsets, quiet=quiet)) as reports:
            async for report in reports:
                self._take(report)

    def _take(self, report: Report) -> None:
        if isinstance(report, Chunk):
            self._keep(report)
        elif isinstance(report, RankReport):
            self._note_rank(report)
        else:
            self._note_status(report)

    def _note_status(self, report: StatusReport) -> None:
        if report.attempt is not None and report.attempt < self._record.attempt:
            report = _ABSENT  # an earlier attempt ended there; this one has not begun
        if report != self._status and not (self._swept and report.state == "lost"):
            self._status = report
            self._note_news()

    def _keep(self, chunk: Chunk) -> None:
        """Keep the bytes that are new, and show them. Raises NoRoom."""
        stream = self._streams.get(chunk.path) or self._stream_of(chunk.path)
        if stream is None:
            return
        if self._elastic is None:
            self._streams[chunk.path] = stream
        store = self._record.store
        before = store.size(stream)
        try:
            store.append(stream, chunk.offset, chunk.data, chunk.time)
        except OSError as error:
            if not self._no_room_for:
                message = f"the logs of {self.name} cannot be kept here: {error.strerror}"
                self._emit(events.Warned(f"{message}; the node keeps them meanwhile"))
            self._no_room_for.add(chunk.path)
            raise NoRoom from None
        else:
            if chunk.path in self._no_room_for:
                self._no_room_for.discard(chunk.path)
                if not self._no_room_for:
                    message = f"the logs of {self.name} are kept here again, without a gap"
                    self._emit(events.Warned(message))
        finally:
            fresh = chunk.data[before - chunk.offset : store.size(stream) - chunk.offset]
            if fresh:
                self.heard_at = time.monotonic()
                copy = self._record.logs / self.name / chunk.path
                at = chunk.time - self._clock_skew
                self._emit(events.Output(stream, before, fresh, at, copy))

    def _stream_of(self, path: str) -> Stream | None:
        """Return the stream that the node means by `path`, None for what is not of this run.

        Raises NodeError when there can be no such stream at all.
        """
        try:
            stream = Stream.parse(self.name, path)
            if stream.rank is None:
                return stream
            if stream.attempt < self._record.attempt:
                return stream  # ranks were numbered otherwise then
            if not self._is_ours(stream.rank):
                return None
            return Stream.parse(self.name, path, self._local_rank(stream.rank))
        except ValueError as error:
            raise NodeError(str(error)) from None

    def _is_ours(self, rank: int) -> bool:
        """Tell whether the node may speak of `rank`; a script can put any file beside its logs."""
        if rank in (self._plan.ranks if self._elastic is None else range(self._world_size)):
            return True
        if not self._has_strangers:
            self._has_strangers = True
            message = f"{self.name} speaks of rank {rank}, which is not one of its own"
            self._emit(events.Warned(f"{message}: that is left there"))
        return False

    def _local_rank(self, rank: int) -> int | None:
        """Return the local rank of one of ours, None while it is not known."""
        if self._elastic is None:
            return rank - self._plan.first_rank
        return self._ranks[rank].local_rank if rank in self._ranks else None

    def _note_rank(self, report: RankReport) -> None:
        if report.attempt < self._record.attempt or not self._is_ours(report.rank):
            return
        # By its place: in an elastic job, the one before it there may have had another number.
        places = {rank.local_rank: rank for rank in self._ranks.values()}
        known = places.get(report.local_rank)
        is_same = known is not None and (known.attempt, known.pid) == (report.attempt, report.pid)
        if known is not None and (
            (known.attempt, known.started) > (report.attempt, report.started)
            or (is_same and known.end == report.end)
        ):
            return  # told again after a new connection, or of an attempt that is past
        if known is not None:
            del self._ranks[known.rank]
        self._ranks[report.rank] = report
        if not is_same:
            self._emit(
                events.RankBegan(
                    report.rank, report.local_rank, self.name, report.attempt, report.pid,
                    report.started,
                )
            )  # fmt: skip
        if report.end is not None and report.ended is not None:
            end = report.end
            self._emit(events.RankEnded(report.rank, self.name, end.code, end.signal, report.ended))
        self._note_news()

    def _note_news(self) -> None:
        self.heard_at = time.monotonic()
        self._on_news()

    # -- stopping ------------------------------------------------------------------------------

    async def stop(self, reason: str, grace: float) -> None:
        """Tell the node to stop its share, once there is a way to it; what keeps it from hearing that
        is told as a warning.
        """
        self._told = (reason, grace)
        first = self._stopped_at is None and not self.has_ended  # by itself
        if first:
            self._stopped_at = time.time() + self._clock_skew
        if not self._line.is_up:
            return  # it is told when it is back
        try:
            agent, asked = self._line.agent, time.time()
            answer = await agent.ask(
                "stop", run=self._run, node=self.name, grace=grace, reason=reason
            )
            if first:
                self._stopped_at = moment(answer["time"])  # its own clock, which may drift
                self._compare_clocks(asked, self._stopped_at, time.time())
            if not answer["alive"] and not self.has_ended:
                await agent.ask("sweep", run=self._run, node=self.name)
        except (NodeError, KeyError, TypeError, ValueError) as error:
            if self.away_since is None:
                self._emit(events.Warned(f"{self.name} could not be told to stop: {error}"))

    def _compare_clocks(self, asked: float, there: float, answered: float) -> None:
        """Learn anew how far its clock is ahead, if that is surely not what it was at the beginning."""
        middle, doubt = (asked + answered) / 2, (answered - asked) / 2
        if abs(there - middle - self._clock_skew) > doubt + _DOUBT:
            self._skew_at_end = there - middle

    async def renew_lease(self, lease: float) -> None:
        """Tell the node often enough that somebody minds the run; does not return.

        Each node by itself: one that does not answer must not end the lease of another.
        """
        while True:
            with suppress(NodeError):  # a node that is away is the matter of `follow`
                await self._line.agent.ask("heard", run=self._run, node=self.name)
            await asyncio.sleep(lease / 4)

    async def kick(self, rank: RankReport) -> bool:
        """Have the launcher there start all of its ranks again, by the end of one; tell whether that was
        still there. Raises NodeError.
        """
        answer = await self._line.agent.ask(
            "kick",
            run=self._run,
            node=self.name,
            attempt=rank.attempt,
            rank=rank.rank,
            pid=rank.pid,
        )
        return bool(answer == {"ended": True})

    async def answers(self, within: float) -> bool:
        """Tell whether the node does, within so many seconds."""
        if not self._line.is_up:
            return False
        try:
            await self._line.agent.ask("heard", timeout=within, run=self._run, node=self.name)
        except NodeError:
            return False
        return True

    async def ask_about(self, rank: RankReport, within: float) -> Known:
        """Return what the node knows of the end of a rank of its own: nothing, if it does not answer."""
        if not self._line.is_up:
            return Known()
        try:
            answer = await self._line.agent.ask(
                "evidence",
                timeout=within,
                limit=within - 1.0,
                run=self._run,
                node=self.name,
                attempt=rank.attempt,
                rank=rank.rank,
                killed=rank.end is not None and rank.end.signal == SIGKILL,
            )
            return Known.parse(answer)
        except (NodeError, KeyError, TypeError, ValueError):
            return Known()


def _left(node: str, answer: Any) -> tuple[int, ...]:
    """Return the processes that a sweep could not kill. Raises NodeError for an answer without sense."""
    try:
        return pids(answer["left"])
    except (KeyError, TypeError, ValueError) as error:
        raise NodeError(f"{node}: its answer makes no sense: {error!r}") from None
