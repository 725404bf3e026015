"""Supervise one attempt of a run to its end: follow its nodes, react to what happens, stop them.

The controller (a launch at a terminal, or one in the background) may die at any time; the next one
continues from the run's folder and from what the nodes report.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import replace
from functools import partial

from orchestrator import events
from orchestrator.control.conclusion import reach_verdict
from orchestrator.control.elastic import watch_members
from orchestrator.control.first_failure import FirstFailure, NodeState, find_first_failure
from orchestrator.control.follower import Follower
from orchestrator.control.gpus import GpuWatch
from orchestrator.control.inquiry import Inquiry
from orchestrator.control.interrupts import Interrupts
from orchestrator.control.keepalive import renew_lease, replace_silent_agent
from orchestrator.control.membership import Membership
from orchestrator.control.node_loss import find_lost_nodes, watch_nodes
from orchestrator.control.stall import StallWatch
from orchestrator.control.stragglers import StragglerWatch
from orchestrator.control.takeover import TakeoverHistory
from orchestrator.control.verdict import Verdict, all_ended, find_stop
from orchestrator.node.reasons import StopReason
from orchestrator.plan import Plan
from orchestrator.reasons import Stop
from orchestrator.remote.connection import NodeConnection
from orchestrator.runs.options import silence_timeout
from orchestrator.runs.record import Record
from orchestrator.runs.stop_request import stop_requests

_SETTLE_TIME = 1.0  # seconds other ranks have after a failure to print their own errors
_LAUNCHER_TIMEOUT = 30.0  # seconds launchers have to end after all ranks have ended
_STRANDED_TIMEOUT = 5.0  # the same, if no rank can start any more
_END_POLL_INTERVAL = 0.05  # seconds
# Seconds after the grace period in which a stopped node must report something; a supervisor needs
# at most 21, with a process that cannot be killed.
_STOP_MARGIN = 25.0
# Seconds after a stop until reports of a node that has not ended are ignored.
_MAX_STOP_TIME = 300.0
_NO_SPACE_TIMEOUT = 10.0  # seconds for which an ended node waits for disk space for its logs here
_MAX_AGENT_SILENCE = 60.0  # seconds, if no node ever counts as lost
_CLOCK_INTERVAL = 60.0  # seconds: the clock may be set, and a suspended machine oversleeps


class Detached(Exception):
    """The run continues, and another controller must take over; the argument is the reason."""


class Run:
    """One attempt of the run of `record`, on the nodes of `connections`."""

    def __init__(
        self,
        record: Record,
        connections: Sequence[NodeConnection],
        emit: events.Emit,
        interrupts: Interrupts,
    ) -> None:
        self._record = record
        self._plan = record.plan
        self._emit = emit
        self._interrupts = interrupts
        self._grace = record.settings.grace
        self._keeps_going = record.settings.keep_going
        self._changed = asyncio.Event()
        self._stopping_since: float | None = None  # time.monotonic
        self._stop_grace = self._grace
        self._stopped: Stop | None = None
        self._history = TakeoverHistory(restarts_itself=self._plan.restarts_itself)
        self.followers = [
            Follower(node, connection, record, self._pass_on, partial(self._note_news, index))
            for index, (node, connection) in enumerate(
                zip(self._plan.nodes, connections, strict=True)
            )
        ]
        self._inquiry = Inquiry(record.logs, self.followers)
        self._failed = asyncio.Event()
        self._stragglers = StragglerWatch(
            self.followers, self._plan, emit, record.state().stragglers.values()
        )
        # What earlier controllers found out about nodes that do not answer.
        known = record.state().nodes
        self._members: Membership | None = None
        if self._plan.elastic is not None:
            left = {node.name: node.cause for node in known.values() if node.state == "left"}
            self._members = Membership(self._plan, self._plan.elastic, left)
        for node in self.followers:
            if self._members is not None:
                node.gone = self._members.left.get(node.name)
            elif node.name in known:
                node.gone = known[node.name].gone

    async def watch(self) -> Verdict:
        """Follow every node to its end and return the verdict. Raises Detached."""
        self._emit(events.Started(self._plan.run, self._record.folder))
        detached: str | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                following = [tasks.create_task(node.follow()) for node in self.followers]
                watching = [tasks.create_task(watcher) for watcher in self._watchers()]
                detaching = tasks.create_task(self._interrupts.wait_for_detach())
                ending = tasks.create_task(self._await_end(following))
                await asyncio.wait([ending, detaching], return_when=asyncio.FIRST_COMPLETED)
                if ending.done() or self._stopping_since is not None:
                    await ending
                else:
                    detached = detaching.result()
                for task in (*following, *watching, detaching, ending):
                    task.cancel()
        except asyncio.CancelledError:
            raise  # by a program: whatever reads the run next gives it a controller
        except BaseException:  # a bug: the next controller would meet it again
            await self._stop_all(Stop(StopReason.CONTROLLER_ENDING), self._grace)
            raise
        if detached is not None:
            raise Detached(detached)
        plan, states = self._view()
        verdict = await reach_verdict(
            self._record, self.followers, plan, states, self._stopped, self._inquiry, self._emit
        )
        if verdict.first_failure is None and self._members is not None and self._members.left:
            without = f"without {', '.join(self._members.left)}"
            verdict = replace(verdict, detail=f"{verdict.detail}, {without}")
        return verdict

    def has_failed(self, verdict: Verdict) -> bool:
        """Return whether the run ended by a failure or a stall, not by the user or its time limit."""
        if self._stopped is not None:
            return self._stopped.reason is StopReason.STALL
        return verdict.first_failure is not None

    def saw_fail(self, verdict: Verdict) -> bool:
        """Return whether the failure of a run happened while this controller supervised it."""
        return verdict.first_failure is None or self._history.saw(verdict.first_failure)

    @property
    def latest_attempt(self) -> int:
        """The number of the current attempt, or of a later one that a node reports."""
        statuses = [node.state.status for node in self.followers]
        reported = [status.attempt for status in statuses if status is not None]
        return max([self._record.attempt, *(number for number in reported if number is not None)])

    async def _await_end(self, following: Sequence[asyncio.Task[None]]) -> None:
        """Wait until all nodes have ended and all their output was copied.

        Gives up at a third interrupt, and on each node at its deadline (`_deadline`).
        """
        nodes = list(zip(self.followers, following, strict=True))
        while self._interrupts.count < 3:
            deadlines = {task: self._deadline(node) for node, task in nodes if not task.done()}
            timeout = max(deadlines.values(), default=0.0) - time.monotonic()
            if timeout <= 0:
                break
            await asyncio.wait(deadlines, timeout=min(timeout, 0.5))  # deadlines change
        for node, task in nodes:
            if not task.done() and not node.has_ended and node.gone is None:
                message = f"{node.name}: gave up waiting; run {self._plan.run} may still run there"
                self._emit(events.Warned(message))

    def _deadline(self, node: Follower) -> float:
        """Return until when (time.monotonic) to wait for the end of `node`."""
        if not node.can_copy and node.has_ended:
            return node.heard_at + _NO_SPACE_TIMEOUT
        is_dispensable = self._keeps_going or self._members is not None
        if node.gone is not None and (self._stopping_since is not None or is_dispensable):
            return self._stopping_since or 0.0
        if self._stopping_since is None:
            return float("inf")
        heard_at = node.heard_at
        if not node.has_ended:  # do not wait for a node that never stops reporting
            heard_at = min(heard_at, self._stopping_since + _MAX_STOP_TIME)
        return max(self._stopping_since, heard_at) + self._stop_grace + _STOP_MARGIN

    # -- what may happen -----------------------------------------------------------------------

    def _watchers(self) -> Iterator[Coroutine[None, None, None]]:
        settings, on_change = self._record.settings, self._changed.set
        yield self._watch_gang()
        yield self._ask_about_failures()
        yield self._watch_interrupts(1)
        yield self._watch_interrupts(2)
        yield self._watch_stop_requests()
        yield watch_nodes(
            self.followers, self._plan.main_port, settings.node_timeout, self._emit, on_change
        )
        if self._members is not None:
            yield watch_members(self._members, self.followers, self._grace, self._emit, on_change)
        if settings.timeout is not None:
            yield self._watch_time_limit(settings.timeout)
        if settings.stall is not None:
            yield self._watch_stalls(settings.stall)
        if self._plan.world_size > 1:
            yield self._stragglers.watch()
        gpus = GpuWatch(self._record.folder, self._emit)
        for node in self.followers:
            yield gpus.watch(node)
            yield replace_silent_agent(
                node, silence_timeout(settings.node_timeout) or _MAX_AGENT_SILENCE
            )
            if settings.lease is not None:
                yield renew_lease(node, settings.lease)

    async def _watch_gang(self) -> None:
        """Stop all nodes once a rank failed, a node stopped, or only launchers are left."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            failure = None if self._keeps_going else self._find_failure()
            if failure is not None:
                await asyncio.gather(
                    self._settle_and_stop(failure),
                    find_lost_nodes(self.followers, self._plan.main_port),
                )
                return
            plan, states = self._view()
            stop = find_stop(states)
            if stop is not None and self._stopping_since is None:
                await self._stop_all(stop, self._grace)
                return
            if all_ended(plan, states):
                if plan.runs_once:  # its launchers have served it, and do not end by themselves
                    await self._stop_all(Stop(StopReason.RUN_ENDED), self._grace)
                else:
                    await self._end_launchers(_LAUNCHER_TIMEOUT)
                return
            if self._members is not None and self._members.are_stranded(self._states()):
                await self._end_launchers(_STRANDED_TIMEOUT)
                return

    async def _ask_about_failures(self) -> None:
        """Ask about the first failure when it is found, and again if that turns out to be another one."""
        asked: set[FirstFailure] = set()
        while True:
            await self._failed.wait()
            self._failed.clear()
            plan, states = self._view()
            failure = find_first_failure(states)
            if failure is not None and failure not in asked and failure.end is not None:
                asked.add(failure)
                await self._inquiry.begin(plan, failure)

    async def _end_launchers(self, timeout: float) -> None:
        """Wait `timeout` seconds for launchers whose ranks have all ended, then stop the run."""
        deadline = time.monotonic() + timeout
        while live := self._live_launchers():
            if time.monotonic() >= deadline:
                stop = Stop(StopReason.LAUNCHER_HANGS, text=", ".join(live), seconds=timeout)
                await self._stop_all(stop, self._grace)
                return
            await asyncio.sleep(_END_POLL_INTERVAL)
        # Their supervisors end what the ranks have left running.

    def _live_launchers(self) -> list[str]:
        """Return the nodes with launchers that are not known to have ended."""
        return [
            node.name
            for node in self.followers
            if not node.has_ended
            and node.gone is None
            and any(process.rank is None for process in node.plan.processes)
            and (node.state.status is None or node.state.status.launcher is None)
        ]

    async def _settle_and_stop(self, failure: FirstFailure) -> None:
        """Stop all nodes, after the other ranks had time to print their own errors.

        They do not get more time if a whole node is gone.
        """
        if failure.end is None:
            reason = Stop(StopReason.NODE_FAILED, node=failure.node)
        else:
            is_launcher = failure.rank is None
            reason = Stop(StopReason.LAUNCHER_FAILED if is_launcher else StopReason.RANK_FAILED)
            await self._await_ranks(_SETTLE_TIME)
        await self._stop_all(reason, self._grace)

    def _find_failure(self) -> FirstFailure | None:
        """Return what failed first, once the attempt cannot succeed any more."""
        _, states = self._view()
        failure = find_first_failure(states)
        if self._members is not None:
            return failure if self._members.is_over else None
        if failure is None or failure.end is None or not self._plan.restarts_itself:
            return failure
        # A launcher that restarts failed ranks has failed when it has ended itself.
        launchers = [state.status.launcher for state in states if state.status is not None]
        return failure if any(launchers) else None

    async def _watch_interrupts(self, count: int) -> None:
        """Stop all nodes at the first interrupt; kill at the second, even while the first is being sent."""
        await self._interrupts.wait(count)
        self._stopped = self._stopped or Stop(self._interrupts.reason)
        if count == 1:
            await self._stop_all(Stop(StopReason.INTERRUPT), self._grace)
        else:
            await self._stop_all(Stop(StopReason.INTERRUPT_TWICE), 0.0)

    async def _watch_time_limit(self, timeout: float) -> None:
        """Stop all nodes when the run's time limit is reached, counted from its start."""
        end = self._record.began + timeout
        while True:
            await asyncio.sleep(min(max(0.0, end - time.time()), _CLOCK_INTERVAL))
            if time.time() >= end:
                break
        await self._stop_for(Stop(StopReason.TIME_LIMIT, seconds=timeout), self._grace)

    async def _watch_stalls(self, seconds: float) -> None:
        """Report when the run makes no progress, and stop all nodes then if requested."""
        on_stall = self._stop_stalled if self._record.settings.stop_when_stalled else None
        is_stalled = self._record.state().stalled is not None
        watch = StallWatch(
            self.followers, self._plan, seconds, self._emit, on_stall, is_stalled=is_stalled
        )
        await watch.watch()

    async def _stop_stalled(self, suspect: str) -> None:
        await self._stop_for(Stop(StopReason.STALL, text=suspect), self._grace)

    async def _watch_stop_requests(self) -> None:
        """Stop all nodes for each stop request in the run's folder, even while another is being sent."""
        async with asyncio.TaskGroup() as stops:
            async for request in stop_requests(self._record.folder):
                grace = self._grace if request.grace is None else request.grace
                stops.create_task(self._stop_for(Stop(request.reason), grace))

    async def _stop_for(self, reason: Stop, grace: float) -> None:
        """Stop all nodes; this is why the run ended, unless there was an earlier reason."""
        self._stopped = self._stopped or reason
        await self._stop_all(reason, grace)

    async def _stop_all(self, reason: Stop, grace: float) -> None:
        self._stop_grace = min(grace, self._stop_grace)
        self._emit(events.Stopping(reason, grace))
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
        nodes = self.followers
        if self._plan.runs_once:  # the other nodes serve the rank, which may have state to save
            nodes = [node for node in self.followers if not node.plan.ranks]
            await asyncio.gather(
                *(node.stop(reason, grace) for node in self.followers if node.plan.ranks)
            )
            await self._await_ranks(grace)
        await asyncio.gather(*(node.stop(reason, grace) for node in nodes))

    async def _await_ranks(self, timeout: float) -> None:
        """Wait up to `timeout` seconds until all ranks have ended."""
        for _ in range(round(timeout / _END_POLL_INTERVAL)):
            if all_ended(*self._view()):
                return
            await asyncio.sleep(_END_POLL_INTERVAL)

    # -- what is known -------------------------------------------------------------------------

    def _pass_on(self, event: events.Event) -> None:
        self._stragglers.note(event)
        self._emit(event)

    def _note_news(self, index: int) -> None:
        self._history.observe(self.followers[index].state)
        self._changed.set()
        self._failed.set()

    def _states(self) -> list[NodeState]:
        return [node.state for node in self.followers]

    def _view(self) -> tuple[Plan, list[NodeState]]:
        """Return the plan and the states of the nodes that the run still needs."""
        states = self._states()
        if self._members is None:
            return self._plan, states
        self._members.update(states)
        return self._members.view(states)
