"""The controller's side of one node: follow its share of a run, copy its logs, stop it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any

from orchestrator import events
from orchestrator.control.copies import Copies, NoSpace
from orchestrator.control.first_failure import NodeState
from orchestrator.control.node_reports import NodeReports
from orchestrator.control.verdict import FINAL
from orchestrator.errors import LoginRefused, NodeError, NodeGone
from orchestrator.logs.store import GapError, LimitReached
from orchestrator.plan import NodePlan
from orchestrator.reasons import Stop
from orchestrator.remote.connection import NodeConnection
from orchestrator.remote.reports import Chunk, FileProblem, RankReport, Report, Zeros
from orchestrator.runs.record import Record
from orchestrator.util import answers

_MIN_RETRY_INTERVAL, _MAX_RETRY_INTERVAL = 0.5, 15.0  # seconds between attempts to reconnect
_CLOCK_TOLERANCE = 0.05  # seconds by which the measured clock skew may be wrong
_DISK_RETRY_INTERVAL = 2.0  # seconds between attempts to write logs to a full disk


class Follower:
    """Follows the share of a run on the node at the other end of `connection`.

    `emit` gets the events; `on_news` is called when a rank or the supervisor changes its state.
    """

    def __init__(
        self,
        plan: NodePlan,
        connection: NodeConnection,
        record: Record,
        emit: events.Emit,
        on_news: Callable[[], None],
    ) -> None:
        self.plan = plan
        self.connection = connection
        self.name = plan.name
        self._run = record.plan.run
        self._record = record
        self._emit = emit
        self._on_news = on_news
        self._reports = NodeReports(plan, record, emit, on_news)
        self._copies = Copies(
            plan.name, record, emit, self._reports.stream_of, self._reports.note_heard
        )
        self._clock_skew = record.settings.skews.get(plan.name, 0.0)
        self._skew_at_end: float | None = None
        self._is_swept = False
        self._swept_at: float | None = None  # the node's clock
        self.stop_request: tuple[Stop, float] | None = None
        """Why the node is asked to stop, and with what grace period."""
        self._stopped_at: float | None = None  # the node's clock
        self._away_cause = ""
        self.away_since: float | None = None
        """When the connection was lost (time.monotonic); None while connected."""
        self.has_all = False
        """Whether the run has ended on the node and all its output was copied to this machine."""
        self.gone: str | None = None
        """Why the node counts as failed although it reports nothing."""

    @property
    def state(self) -> NodeState:
        """What is known about the node's share of the run."""
        status = self._reports.status
        # It may have been stopped before we asked: by another controller, or at the end of its lease.
        known = (self._stopped_at, status.stopped_at if status else None)
        stopped_at = min((at for at in known if at is not None), default=None)
        skew = self._clock_skew if self._skew_at_end is None else self._skew_at_end
        return NodeState(
            self.name, self._reports.ranks, status, skew, stopped_at, self.gone, self._swept_at
        )

    @property
    def heard_at(self) -> float:
        """When the node last reported anything new (time.monotonic)."""
        return self._reports.heard_at

    @property
    def can_copy(self) -> bool:
        """Whether this machine has disk space for its logs."""
        return self._copies.have_space

    @property
    def is_cut(self) -> bool:
        """Whether copying its logs has stopped because the run's limit is reached."""
        return self._copies.is_cut

    @property
    def has_ended(self) -> bool:
        """Whether the run has ended on the node, as far as it reports that."""
        return self._reports.status is not None and self._reports.status.state in FINAL

    def give_up(self, why: str) -> None:
        """Count the node as failed, also for later controllers of the run."""
        self.gone = why
        self._emit(events.NodeGone(self.name, why))

    async def ask(self, verb: str, **arguments: Any) -> Any:
        """Return the answer of the node's agent about its share of the run. Raises NodeError."""
        return await self.connection.agent.ask(verb, run=self._run, node=self.name, **arguments)

    async def responds(self, timeout: float) -> bool:
        """Return whether the agent answers within `timeout` seconds."""
        if not self.connection.is_up:
            return False
        try:
            await self.ask("heard", timeout=timeout)
        except NodeError:
            return False
        return True

    # -- following -----------------------------------------------------------------------------

    async def follow(self) -> None:
        """Follow to the end of the run, reconnecting after each lost connection."""
        pause = _MIN_RETRY_INTERVAL
        while True:
            began = time.monotonic()
            try:
                if not self.connection.is_up:
                    await self.connection.connect()
                await self._follow_connection()
                return
            except NodeGone as error:
                self.give_up(error.text)
                self._on_news()
                return
            except (NodeError, GapError) as error:
                await self.connection.close()
                self._note_away(
                    error if isinstance(error, NodeError) else NodeError(self.name, str(error))
                )
            if self.heard_at > began or time.monotonic() - began > _MAX_RETRY_INTERVAL:
                pause = _MIN_RETRY_INTERVAL  # the connection worked for a while
            await asyncio.sleep(pause)
            pause = min(_MAX_RETRY_INTERVAL, pause * 2)

    def _note_away(self, error: NodeError) -> None:
        """Report that the connection is lost, and again if only the user can restore it."""
        cause = f"{error.text}\n  → {error.remedy}" if error.remedy else error.text
        if self.away_since is None:
            self.away_since = time.monotonic()
        elif not isinstance(error, LoginRefused) or cause == self._away_cause:
            return
        self._away_cause = cause
        self._emit(events.NodeLost(self.name, cause))

    async def _follow_connection(self) -> None:
        """Follow over the current connection; output that cannot be stored here stays on the node."""
        self._emit(events.Following(self.name))
        if self.away_since is not None:
            self._emit(events.NodeBack(self.name, time.monotonic() - self.away_since))
            self.away_since = None
        if self.stop_request is not None:
            await self.stop(*self.stop_request)
        while True:
            try:
                await self._follow_to_the_end()
                return
            except NoSpace:
                await self._wait_for_space()
            except LimitReached:
                self._copies.cut()

    async def _wait_for_space(self) -> None:
        """Receive reports without output for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_DISK_RETRY_INTERVAL):
                await self._take_reports(quiet=True)
            await asyncio.sleep(_DISK_RETRY_INTERVAL)

    async def _follow_to_the_end(self) -> None:
        await self._take_reports()
        status = self._reports.status
        if status is not None and status.state == "lost" and not self._is_swept:
            # These ranks have no supervisor. What they wrote before the sweep is fetched after it.
            left = await self._sweep()
            self._is_swept = True
            self._reports.status = replace(status, left=left)
            await self._take_reports()
        self.has_all = self._copies.are_complete
        if (status := self._reports.status) is not None:
            self._emit(events.NodeEnded(self.name, status.state, status.left))

    async def _take_reports(self, *, quiet: bool = False) -> None:
        """Receive the node's reports until the run has ended there; without output if `quiet`."""
        offsets = self._record.store.sizes(self.name)
        quiet = quiet or self.is_cut
        agent = self.connection.agent
        async with aclosing(agent.follow(self._run, offsets, quiet=quiet)) as reports:
            async for report in reports:
                if not (quiet and isinstance(report, Chunk | Zeros)):
                    self._take(report)

    def _take(self, report: Report) -> None:
        if isinstance(report, Chunk | Zeros):
            self._copies.keep(report)
        elif isinstance(report, FileProblem):
            self._copies.note_odd(report)
        elif isinstance(report, RankReport):
            self._reports.note_rank(report)
        elif not (self._is_swept and report.state == "lost"):
            self._reports.note_status(report)

    # -- stopping ------------------------------------------------------------------------------

    async def stop(self, why: Stop, grace: float) -> None:
        """Ask the node to stop its share, now or once it is connected again; warn if it does not answer."""
        self.stop_request = (why, grace)
        is_first = self._stopped_at is None and not self.has_ended
        if is_first:
            self._stopped_at = time.time() + self._clock_skew
        if not self.connection.is_up:
            return
        try:
            asked = time.time()
            answer = await self.ask("stop", grace=grace, reason=why.reason.value, detail=why.detail)
            is_alive, there = answers.parse_answer(self.name, "stop", _parse_stop, answer)
            self._compare_clocks(asked, there, time.time())
            if is_first:
                # If its supervisor was dead, that stopped the node, not this request.
                self._stopped_at = there if is_alive else None
            if not is_alive and not self.has_ended:
                await self._sweep()
        except NodeError as error:
            if self.away_since is None:
                self._emit(
                    events.Warned(f"{self.name}: the request to stop was not answered: {error}")
                )

    async def _sweep(self) -> tuple[int, ...]:
        """Kill what is left of the run on the node; return the processes that could not be killed.

        Raises NodeError.
        """
        answer = await self.ask("sweep")
        left, at = answers.parse_answer(self.name, "sweep", _parse_sweep, answer)
        self._swept_at = at if self._swept_at is None else min(at, self._swept_at)
        return left

    def _compare_clocks(self, asked: float, there: float, answered: float) -> None:
        """Measure the clock skew again; keep it if it clearly differs from that at the start."""
        middle, error = (asked + answered) / 2, (answered - asked) / 2
        if abs(there - middle - self._clock_skew) > error + _CLOCK_TOLERANCE:
            self._skew_at_end = there - middle


def _parse_stop(answer: Any) -> tuple[bool, float]:
    """Return whether the supervisor was alive, and when it got the request."""
    return answers.flag(answer["alive"]), answers.timestamp(answer["time"])


def _parse_sweep(answer: Any) -> tuple[tuple[int, ...], float]:
    """Return the processes that could not be killed, and when the sweep began."""
    return answers.not_killed(answer), answers.timestamp(answer["time"])
