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
from orchestrator.control.copies import Copies, NoRoom
from orchestrator.control.explain import NodeEvidence
from orchestrator.control.first_failure import NodeState
from orchestrator.control.verdict import FINAL
from orchestrator.errors import LoginRefused, NodeError
from orchestrator.logs.store import GapError, LimitReached
from orchestrator.logs.stream import Stream
from orchestrator.plan import NodePlan
from orchestrator.reasons import Stop
from orchestrator.remote import answers
from orchestrator.remote.connection import NodeConnection
from orchestrator.remote.reports import (
    Chunk,
    FileProblem,
    LeftBehind,
    RankReport,
    Report,
    StatusReport,
    Zeros,
)
from orchestrator.runs.record import Record

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0  # seconds between attempts to come back to a node
_ASK_EVERY = 3.0  # seconds between questions to a silent agent, and for an answer to one
_SILENCE = 12.0  # seconds for which an agent may be silent at least: it may have a lot to do
_CLOCK_TOLERANCE = 0.05  # seconds by which clocks may differ from what is known of them
_NO_ROOM_PAUSE = 2.0  # seconds until it is tried again whether the logs can be kept here


_MOST_NEWS = 10_000  # of ranks and the supervisor that a node can have, and
_MOST_NEWS_OF_RANK = 1_000  # so many more for each rank: a launcher may start them again that often

_ABSENT = StatusReport("absent", None, ())


class Follower:
    """Follows the share of a run that is at the other end of `line`.

    `emit` hears what happens, `on_news` that a rank or the supervisor has changed its state.
    """

    def __init__(
        self,
        plan: NodePlan,
        connection: NodeConnection,
        record: Record,
        emit: events.Emit,
        on_news: Callable[[], None],
    ) -> None:
        self._run = record.plan.run
        self._elastic = record.plan.elastic
        self._world_size = record.plan.world_size
        self._plan = plan
        self._connection = connection
        self._record = record
        self._emit = emit
        self._on_news = on_news
        self._clock_skew = record.settings.skews.get(plan.name, 0.0)
        self._skew_at_end: float | None = None
        self._streams: dict[str, Stream] = {}
        self._ranks: dict[int, RankReport] = {}
        self._status: StatusReport | None = None
        self._swept = False
        self._swept_at: float | None = None  # the node's clock
        self._has_strangers = False
        self._news_left = _MOST_NEWS + _MOST_NEWS_OF_RANK * len(plan.ranks)
        self._told: tuple[Stop, float] | None = None  # to stop: why, and with what grace
        self._stopped_at: float | None = None
        self._copies = Copies(plan.name, record, emit, self._stream_of, self._note_heard)
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
    def connection(self) -> NodeConnection:
        return self._connection

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
        return NodeState(
            self.name, self._ranks, self._status, skew, stopped_at, self.gone, self._swept_at
        )

    @property
    def has_room(self) -> bool:
        """Whether what comes can be kept here."""
        return self._copies.has_room

    @property
    def is_cut(self) -> bool:
        """Whether logs of the node stay there: the run's limit of logs here is reached."""
        return self._copies.is_cut

    def give_up(self, why: str) -> None:
        """Count the node as failed. That is kept, for the next controller to know."""
        self.gone = why
        self._emit(events.NodeGone(self.name, why))

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
                if not self._connection.is_up:
                    await self._connection.connect()
                await self._follow_connection()
                return
            except NodeError as error:
                await self._connection.close()
                self._note_away(error)
            except GapError as error:
                await self._connection.close()
                self._note_away(NodeError(self.name, str(error)))
            if self.heard_at > began or time.monotonic() - began > _LONGEST_PAUSE:
                pause = _FIRST_PAUSE  # it was well, if only for a while
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    def _note_away(self, error: NodeError) -> None:
        """Tell that the node is away, and again when it turns out that somebody must see to it."""
        cause = f"{error.text}\n  → {error.remedy}" if error.remedy else error.text
        if self.away_since is None:
            self.away_since = time.monotonic()
        elif not isinstance(error, LoginRefused) or cause == self._away_for:
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
            except LimitReached:
                self._copies.cut()

    async def _wait_for_room(self) -> None:
        """Take in reports without bytes for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_NO_ROOM_PAUSE):
                await self._take_reports(quiet=True)
            await asyncio.sleep(_NO_ROOM_PAUSE)

    async def _follow_to_the_end(self) -> None:
        await self._take_reports()
        if self._status is not None and self._status.state == "lost" and not self._swept:
            # These ranks have no supervisor any more. What they wrote until the sweep is fetched after it.
            left = await self._sweep()
            self._swept = True
            self._status = replace(self._status, left=left)
            await self._take_reports()
        self.has_all = self._copies.are_whole
        if self._status is not None:
            self._emit(events.NodeEnded(self.name, self._status.state, self._status.left))

    async def _take_reports(self, *, quiet: bool = False) -> None:
        """Take in what the node tells, until the run has ended there and all of it is told."""
        offsets = self._record.store.sizes(self.name)
        quiet = quiet or self.is_cut
        async with aclosing(
            self._connection.agent.follow(self._run, offsets, quiet=quiet)
        ) as reports:
            async for report in reports:
                if not (quiet and isinstance(report, Chunk | Zeros)):
                    self._take(report)

    def _take(self, report: Report) -> None:
        if isinstance(report, Chunk | Zeros):
            self._copies.keep(report)
        elif isinstance(report, FileProblem):
            self._copies.note_odd(report)
        elif isinstance(report, RankReport):
            if self._news_left:
                self._note_rank(report)
        else:
            self._note_status(report)

    def _note_status(self, report: StatusReport) -> None:
        if report.attempt is not None and report.attempt < self._record.attempt:
            report = _ABSENT  # an earlier attempt ended there; this one has not begun
        if report != self._status and not (self._swept and report.state == "lost"):
            known = self._status.behind if self._status is not None else None
            if report.behind is not None and report.behind != known:
                self._warn(f"{self.name}: {_told_of(report.behind, self._run)}")
            self._status = report
            self._note_news()

    def _warn(self, message: str) -> None:
        self._emit(events.Warned(message))

    def _stream_of(self, path: str) -> Stream | None:
        """Return the stream that the node means by `path`, None for what is not of this run.

        Raises NodeError when there can be no such stream at all.
        """
        if path in self._streams:
            return self._streams[path]
        try:
            stream = Stream.parse(self.name, path)
            if stream.rank is None:
                return stream
            if stream.attempt < self._record.attempt:
                return stream  # ranks were numbered otherwise then
            if not self._is_ours(stream.rank):
                return None
            stream = Stream.parse(self.name, path, self._local_rank(stream.rank))
        except ValueError as error:
            raise NodeError(self.name, str(error)) from None
        if self._elastic is None:
            self._streams[path] = stream
        return stream

    def _is_ours(self, rank: int) -> bool:
        """Tell whether the node may speak of `rank`; a script can put any file beside its logs."""
        if rank in (self._plan.ranks if self._elastic is None else range(self._world_size)):
            return True
        if not self._has_strangers:
            self._has_strangers = True
            self._warn(f"{self.name}: ignoring rank {rank}, which is not assigned to it")
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

    def _note_heard(self) -> None:
        self.heard_at = time.monotonic()

    def _note_news(self) -> None:
        self._on_news()
        if self._news_left == 0:
            return  # it may say anything, for ever
        self._note_heard()
        self._news_left -= 1
        if self._news_left == 0:
            self._warn(
                f"{self.name} reports more starts and ends than its ranks can have: ignoring more of them"
            )

    # -- stopping ------------------------------------------------------------------------------

    async def stop(self, why: Stop, grace: float) -> None:
        """Tell the node to stop its share, and why, once there is a way to it; what keeps it from
        hearing that is told as a warning.
        """
        self._told = (why, grace)
        first = self._stopped_at is None and not self.has_ended  # by itself
        if first:
            self._stopped_at = time.time() + self._clock_skew
        if not self._connection.is_up:
            return  # it is told when it is back
        try:
            agent, asked = self._connection.agent, time.time()
            answer = await agent.ask(
                "stop",
                run=self._run,
                node=self.name,
                grace=grace,
                reason=why.reason.value,
                detail=why.detail,
            )
            is_alive, there = answers.parse_answer(self.name, "stop", _parse_stop, answer)
            self._compare_clocks(asked, there, time.time())  # its own clock, which may drift
            if first:
                # One whose supervisor was dead by then was stopped by that, and not by us.
                self._stopped_at = there if is_alive else None
            if not is_alive and not self.has_ended:
                await self._sweep()
        except NodeError as error:
            if self.away_since is None:
                self._warn(f"{self.name} could not be told to stop: {error}")

    async def _sweep(self) -> tuple[int, ...]:
        """Have what is left of the run there killed; return the processes that could not be.

        Raises NodeError.
        """
        answer = await self._connection.agent.ask("sweep", run=self._run, node=self.name)
        left, at = answers.parse_answer(self.name, "sweep", _parse_sweep, answer)
        self._swept_at = at if self._swept_at is None else min(at, self._swept_at)
        return left

    def _compare_clocks(self, asked: float, there: float, answered: float) -> None:
        """Learn anew how far its clock is ahead, if that is surely not what it was at the beginning."""
        middle, doubt = (asked + answered) / 2, (answered - asked) / 2
        if abs(there - middle - self._clock_skew) > doubt + _CLOCK_TOLERANCE:
            self._skew_at_end = there - middle

    async def renew_lease(self, lease: float) -> None:
        """Tell the node often enough that the run has a controller; does not return.

        Each node by itself: one that does not answer must not end the lease of another.
        """
        while True:
            with suppress(NodeError):  # a node that is away is the matter of `follow`
                await self._connection.agent.ask("heard", run=self._run, node=self.name)
            await asyncio.sleep(lease / 4)

    async def replace_silent_agent(self, patience: float) -> None:
        """Hang up where an agent answers nothing for `patience` seconds, at a stop for _SILENCE: `follow`
        starts another there. Does not return.

        sshd answers for itself, so the connection to an agent that hangs is as alive as any.
        """
        unanswered = 0
        while True:
            await asyncio.sleep(_ASK_EVERY)
            if not self._connection.is_up or self.has_ended:
                unanswered = 0
                continue
            agent = self._connection.agent
            limit = max(patience, _SILENCE) if self._told is None else _SILENCE
            if time.monotonic() - agent.heard_at < limit / 2:
                unanswered = 0
                continue
            # Twice: where we were suspended ourselves, the first answer may come too late.
            unanswered = 0 if await self.answers(_ASK_EVERY) else unanswered + 1
            silent_for = time.monotonic() - agent.heard_at
            if unanswered >= 2 and silent_for >= limit:
                await agent.abandon(f"the agent has not answered for {silent_for:.0f} s")

    async def restart_rank(self, rank: RankReport) -> bool:
        """Have the launcher there start all of its ranks again, by the end of one; tell whether that was
        still there. Raises NodeError.
        """
        answer = await self._connection.agent.ask(
            "restart_rank",
            run=self._run,
            node=self.name,
            attempt=rank.attempt,
            rank=rank.rank,
            pid=rank.pid,
        )
        return bool(answer == {"ended": True})

    async def answers(self, within: float) -> bool:
        """Tell whether the node does, within so many seconds."""
        if not self._connection.is_up:
            return False
        try:
            await self._connection.agent.ask("heard", timeout=within, run=self._run, node=self.name)
        except NodeError:
            return False
        return True

    async def fetch_evidence(self, rank: RankReport, within: float) -> NodeEvidence:
        """Return what the node knows of the end of a rank of its own: nothing, if it does not answer."""
        if not self._connection.is_up:
            return NodeEvidence()
        try:
            answer = await self._connection.agent.ask(
                "evidence",
                timeout=within,
                limit=within - 1.0,
                run=self._run,
                node=self.name,
                attempt=rank.attempt,
                rank=rank.rank,
                killed=rank.end is not None and rank.end.signal == SIGKILL,
                workdir=self._plan.workdir,
            )
            return answers.parse_answer(self.name, "evidence", NodeEvidence.parse, answer)
        except NodeError:
            return NodeEvidence()


def _told_of(behind: LeftBehind, run: str) -> str:
    """Return what is said of processes that ranks left running."""
    names = ", ".join(f"{pid} ({name})" for pid, name in behind.processes)
    what = f"process{'es' if len(behind.processes) > 1 else ''} {names}"
    if behind.ended:
        return f"ended {what}, which the ranks had left running (--linger {behind.limit:g})"
    return (
        f"the ranks have succeeded and left {what} running: waiting up to {behind.limit:g} s for that "
        f"(--linger); `orch stop {run}` ends it now"
    )


def _parse_stop(answer: Any) -> tuple[bool, float]:
    """Return whether the supervisor lived, and when it was told to stop."""
    return answers.flag(answer["alive"]), answers.timestamp(answer["time"])


def _parse_sweep(answer: Any) -> tuple[tuple[int, ...], float]:
    """Return the processes that could not be killed, and when the sweep began."""
    return answers.not_killed(answer), answers.timestamp(answer["time"])
