"""Mind a run that has started, to its verdict: follow its nodes, react, stop.

The controller (a launch at a terminal, or one in the background) may end at any time; the next one
goes on from the run's folder and from what the nodes tell.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from orchestrator import events
from orchestrator.control.elastic import watch_members
from orchestrator.control.explain import NodeEvidence, SelfReports, explain
from orchestrator.control.first_failure import FirstFailure, NodeState, find_first_failure
from orchestrator.control.follower import Follower
from orchestrator.control.gpus import GpuWatch
from orchestrator.control.interrupts import Interrupts
from orchestrator.control.log_events import log_event
from orchestrator.control.membership import Membership
from orchestrator.control.node_loss import find_lost_nodes, watch_nodes
from orchestrator.control.stall import StallWatch
from orchestrator.control.takeover import TakeoverHistory
from orchestrator.control.verdict import Verdict, all_ended, find_stop, judge
from orchestrator.node.reasons import StopReason
from orchestrator.plan import Plan
from orchestrator.reasons import Stop
from orchestrator.remote.connection import NodeConnection
from orchestrator.runs.disk_room import write_within
from orchestrator.runs.options import silence_timeout
from orchestrator.runs.record import Record
from orchestrator.runs.state import state_of
from orchestrator.runs.stop_request import stop_requests

SETTLE = 1.0  # seconds that the others have, after a failure, to print their own errors
BARRIER = 30.0  # seconds that launchers have, after every rank has ended, to end too
STRANDED = 5.0  # and where none of theirs can begin any more
_STOP_MARGIN = 25.0  # seconds beyond the grace until a node that says nothing is given up: a
# supervisor needs at most 21, with a process that cannot be killed
_LONGEST_STOP = 300.0  # seconds for which a node that is told to stop is heard before it has ended
_NO_ROOM = 10.0  # seconds for which a run that has ended waits for room for its logs here
_NO_RECORD = 10.0  # and for its end to be put on record, and in the background, where nobody waits:
_NO_RECORD_IN_BACKGROUND = 600.0
_LONGEST_SILENCE = 60.0  # seconds for which an agent may be silent where no node is given up
_LOOK_WHETHER_ALL_ENDED = 0.05
_EVIDENCE = 8.0  # seconds that a node has to tell what it knows of a rank's end
_LOOK_AT_CLOCK = 60.0  # seconds: it may be set, and a machine that slept slept through its pauses


class Detached(Exception):
    """The run goes on, and another controller is to take over; the argument says why."""


class Run:
    """A run whose record we hold, on the nodes at the other ends of `lines`; `emit` hears what happens."""

    def __init__(
        self,
        record: Record,
        connections: Sequence[NodeConnection],
        emit: events.Emit,
        interrupts: Interrupts,
    ) -> None:
        self._record = record
        self._plan = record.plan
        self._emit_outside = emit
        self._interrupts = interrupts
        self._grace = record.settings.grace
        self._keeps_going = record.settings.keep_going
        self._members = _members_of(record)
        # What a controller before us has found out of nodes that do not answer.
        gone = self._members.left if self._members is not None else _gone(record)
        self._news = asyncio.Event()
        self._stopping_since: float | None = None  # time.monotonic
        self._stop_grace = self._grace
        self._can_write = True
        self._stopped: Stop | None = None
        self._witness = TakeoverHistory(restarts_itself=self._plan.restarts_itself)
        self.followers = [
            Follower(node, connection, record, self._emit, self._note_news)
            for node, connection in zip(self._plan.nodes, connections, strict=True)
        ]
        for node in self.followers:
            node.gone = gone.get(node.name)

    async def watch(self) -> Verdict:
        """Follow every node to its end and return the verdict, which `conclude` makes the run's.

        Raises Detached.
        """
        self._emit(events.Started(self._plan.run, self._record.folder))
        left: str | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                following = [tasks.create_task(node.follow()) for node in self.followers]
                watching = [tasks.create_task(watcher) for watcher in self._watchers()]
                leaving = tasks.create_task(self._interrupts.wait_for_detach())
                ending = tasks.create_task(self._await_end(following))
                await asyncio.wait([ending, leaving], return_when=asyncio.FIRST_COMPLETED)
                if ending.done() or self._stopping_since is not None:
                    await ending
                else:
                    left = leaving.result()
                for task in (*following, *watching, leaving, ending):
                    task.cancel()
        except BaseException:  # cancelled from outside, or a bug: the run would have no controller
            await self._stop_all(Stop(StopReason.CONTROLLER_ENDING), self._grace)
            raise
        if left is not None:
            raise Detached(left)
        return await self._judge()

    def has_failed(self, verdict: Verdict) -> bool:
        """Tell whether a failure ended it, or that it had stalled: no person, and no time limit."""
        if self._stopped is not None:
            return self._stopped.reason is StopReason.STALL
        return verdict.first_failure is not None

    def saw_fail(self, verdict: Verdict) -> bool:
        """Tell of a run that has failed whether that was while we watched."""
        return verdict.first_failure is None or self._witness.saw(verdict.first_failure)

    @property
    def latest_attempt(self) -> int:
        """The number of the attempt that goes on, or the highest that a node says that it has had."""
        statuses = [node.state.status for node in self.followers]
        told = [status.attempt for status in statuses if status is not None]
        return max([self._record.attempt, *(number for number in told if number is not None)])

    async def _judge(self) -> Verdict:
        plan, states = self._view()
        try:
            verdict = judge(plan, states, self._stopped, SelfReports(self._record.logs))
            if verdict.first_failure is not None:
                self._warn_of_signatures()
                explained = await self._explain(verdict.first_failure, plan)
                verdict = replace(verdict, explained=explained)
        except Exception as error:  # whatever ranks have printed, their run has ended
            self._emit(events.Warned(f"why the run failed cannot be explained: {error!r:.200}"))
            verdict = judge(plan, states, self._stopped)
        if verdict.first_failure is None and self._members is not None and self._members.left:
            without = f"without {', '.join(self._members.left)}"
            verdict = replace(verdict, detail=f"{verdict.detail}, {without}")
        for name, pids in verdict.left.items():
            numbers = ", ".join(map(str, pids))
            self._emit(events.Warned(f"{name}: could not be killed: process {numbers}"))
        return verdict

    def _warn_of_signatures(self) -> None:
        """Say which signatures of the site cannot be used."""
        from orchestrator.diagnose.site_signatures import site_signatures  # which takes a moment

        for problem in site_signatures().problems:
            self._emit(events.Warned(problem))

    async def _explain(self, failure: FirstFailure, plan: Plan) -> events.Explained:
        nodes = {node.name: node.state for node in self.followers}
        if all(node.name != failure.node for node in plan.nodes):  # it has left
            plan = self._plan
        known = NodeEvidence()
        if failure.rank is not None:
            follower = next(node for node in self.followers if node.name == failure.node)
            known = await follower.fetch_evidence(
                nodes[failure.node].ranks[failure.rank], _EVIDENCE
            )
        source, uneven = self._record.settings.source, state_of(self._record.folder).uneven
        return explain(plan, nodes, failure, self._record.logs, known, source, uneven)

    async def conclude(self, verdict: Verdict, *, also_missing: tuple[str, ...] = ()) -> None:
        """Put on record, and tell, that the run has ended with `verdict`: no other attempt follows.

        For a while it waits for the record to be written. `also_missing` are nodes that had a share of
        another one, and have not told all of it.
        """
        lacking = (node.name for node in self.followers if not node.has_all)
        missing = tuple(dict.fromkeys((*lacking, *also_missing)))
        cut = {
            node.name for node in self.followers if node.is_cut
        }  # of these it was told when it came so
        names = ", ".join(name for name in missing if name not in cut)
        if names:
            self._emit(
                events.Warned(
                    f"the logs of {names} are not complete here; "
                    f"`orch logs {self._plan.run}` fetches what is there"
                )
            )
        if verdict.explained is not None:
            self._emit(verdict.explained)
        end = partial(
            self._record.write_state,
            "ended",
            exit_code=verdict.exit_code,
            summary=verdict.summary,
            detail=verdict.detail,
            outcome=verdict.outcome,
            missing=missing,
            verdict=verdict.explained,
            stop=verdict.stop,
        )
        await self._put_on_record(end)
        seconds = time.time() - self._record.began
        self._emit(
            events.Ended(
                self._plan.run,
                verdict.exit_code,
                seconds,
                verdict.summary,
                self._record.folder,
                verdict.stop,
                verdict.detail,
            )
        )

    async def _put_on_record(self, end: Callable[[], None]) -> None:
        """Write how the run ended; where that cannot be, say who will."""
        patience = _NO_RECORD_IN_BACKGROUND if self._record.background else _NO_RECORD
        interrupts = self._interrupts.count

        def tell(error: OSError) -> None:
            message = f"the end of the run cannot be recorded in {self._record.folder}"
            self._emit_outside(
                events.Warned(f"{message}: {error.strerror}; trying for {patience:g} s")
            )

        try:
            await write_within(
                patience,
                end,
                on_wait=tell,
                give_up=lambda: self._interrupts.count > interrupts,
            )
        except OSError as error:
            run = self._plan.run
            self._emit_outside(
                events.Warned(
                    f"run {run} has ended, but is recorded as running: {error.strerror}; "
                    f"make room, then `orch status {run}` records its end"
                )
            )

    async def _await_end(self, following: Sequence[asyncio.Task[None]]) -> None:
        """Wait until all nodes have ended and all that they wrote is here.

        Once they are told to stop, a node that tells nothing new for too long is not waited for; nor
        is any after a third interrupt; nor, for long, is a full disk on this machine.
        """
        nodes = list(zip(self.followers, following, strict=True))
        while self._interrupts.count < 3:
            waited_for = [(task, self._patience(node)) for node, task in nodes if not task.done()]
            patience = max((until for _, until in waited_for), default=0.0) - time.monotonic()
            if patience <= 0:
                break
            # In steps: what there is to wait for changes meanwhile.
            await asyncio.wait([task for task, _ in waited_for], timeout=min(patience, 0.5))
        for node, task in nodes:
            if not task.done() and not node.has_ended and node.gone is None:
                message = f"{node.name}: gave up waiting; run {self._plan.run} may go on there"
                self._emit(events.Warned(message))

    def _patience(self, node: Follower) -> float:
        """Return until when (time.monotonic) the end of `node` is waited for."""
        if not node.has_room and node.has_ended:
            return node.heard_at + _NO_ROOM
        is_done_without = self._keeps_going or self._members is not None
        if node.gone is not None and (self._stopping_since is not None or is_done_without):
            return self._stopping_since or 0.0
        if self._stopping_since is None:
            return float("inf")
        heard_at = node.heard_at
        if not node.has_ended:  # a node that sends without end has no end of its own either
            heard_at = min(heard_at, self._stopping_since + _LONGEST_STOP)
        return max(self._stopping_since, heard_at) + self._stop_grace + _STOP_MARGIN

    # -- minding -------------------------------------------------------------------------------

    def _watchers(self) -> Iterator[Coroutine[None, None, None]]:
        yield self._watch_gang()
        yield self._watch_person(1)
        yield self._watch_person(2)
        yield self._watch_stop_requests()
        if self._members is not None:
            yield watch_members(
                self._members, self.followers, self._grace, self._emit, self._news.set
            )
        if self._record.settings.timeout is not None:
            yield self._watch_time_limit(self._record.settings.timeout)
        yield watch_nodes(
            self.followers,
            self._plan.main_port,
            self._record.settings.node_timeout,
            self._emit,
            self._news.set,
        )
        for node in self.followers:
            patience = silence_timeout(self._record.settings.node_timeout) or _LONGEST_SILENCE
            yield node.replace_silent_agent(patience)
        gpus = GpuWatch(self._record.folder, self._emit_outside)
        for node in self.followers:
            yield gpus.watch(node)
        if self._record.settings.stall is not None:
            yield self._watch_stalls(self._record.settings.stall)
        if self._record.settings.lease is not None:
            for node in self.followers:
                yield node.renew_lease(self._record.settings.lease)

    async def _watch_gang(self) -> None:
        """Stop all nodes when a rank failed or a node stopped anywhere, or when only launchers are left."""
        while True:
            await self._news.wait()
            self._news.clear()
            failed = None if self._keeps_going else self._find_failure()
            if failed is not None:
                await asyncio.gather(
                    self._settle_and_stop(failed),
                    find_lost_nodes(self.followers, self._plan.main_port),
                )
                return
            plan, states = self._view()
            stop = find_stop(states)
            if stop is not None and self._stopping_since is None:
                await self._stop_all(stop, self._grace)
                return
            if all_ended(plan, states) or self._are_stranded():
                await self._end_launchers(BARRIER if all_ended(plan, states) else STRANDED)
                return

    async def _end_launchers(self, patience: float) -> None:
        """Give launchers whose ranks have all ended `patience` seconds to end too, then stop the run."""
        until = time.monotonic() + patience
        while time.monotonic() < until:
            if not self._live_launchers():
                return  # what ranks have left running is up to their supervisors
            await asyncio.sleep(_LOOK_WHETHER_ALL_ENDED)
        names = ", ".join(self._live_launchers())
        if names:
            hangs = Stop(StopReason.LAUNCHER_HANGS, text=names, seconds=patience)
            await self._stop_all(hangs, self._grace)

    def _live_launchers(self) -> list[str]:
        """Return the nodes whose launchers are not known to have ended."""
        return [
            node.name
            for node in self.followers
            if not node.has_ended
            and node.gone is None
            and any(process.rank is None for process in node.plan.processes)
            and (node.state.status is None or node.state.status.launcher is None)
        ]

    async def _settle_and_stop(self, failed: FirstFailure) -> None:
        """Stop all nodes, once the others have had the time to print their own errors.

        Of a node that is gone, they have waited for long enough.
        """
        is_node = failed.end is None
        for _ in range(0 if is_node else round(SETTLE / _LOOK_WHETHER_ALL_ENDED)):
            if all_ended(*self._view()):
                break
            await asyncio.sleep(_LOOK_WHETHER_ALL_ENDED)
        if is_node:
            why = Stop(StopReason.NODE_FAILED, node=failed.node)
        elif failed.rank is None:
            why = Stop(StopReason.LAUNCHER_FAILED)
        else:
            why = Stop(StopReason.RANK_FAILED)
        await self._stop_all(why, self._grace)

    def _find_failure(self) -> FirstFailure | None:
        """Return what failed, once the run has failed for good."""
        _, states = self._view()
        failure = find_first_failure(states)
        if self._members is not None:
            return failure if self._members.is_over else None
        if failure is None or failure.end is None or not self._plan.restarts_itself:
            return failure
        # A launcher that starts failed ranks again has failed when it has ended itself.
        launchers = [state.status.launcher for state in states if state.status is not None]
        return failure if any(launchers) else None

    async def _watch_person(self, count: int) -> None:
        """Stop all nodes at the first interrupt, kill at the second, also while the first is told."""
        await self._interrupts.wait(count)
        self._stopped = self._stopped or Stop(self._interrupts.reason)
        if count == 1:
            await self._stop_all(Stop(StopReason.INTERRUPT), self._grace)
        else:
            await self._stop_all(Stop(StopReason.INTERRUPT_TWICE), 0.0)

    async def _watch_time_limit(self, timeout: float) -> None:
        """Stop all nodes when the run has had its time, under however many controllers."""
        end = self._record.began + timeout
        while True:
            await asyncio.sleep(min(max(0.0, end - time.time()), _LOOK_AT_CLOCK))
            if time.time() >= end:
                break
        await self._stop_for(Stop(StopReason.TIME_LIMIT, seconds=timeout), self._grace)

    async def _watch_stalls(self, seconds: float) -> None:
        """Tell when the run does not get on, and stop all nodes then if that is wanted."""
        on_stall = self._stop_stalled if self._record.settings.stop_when_stalled else None
        was_told = self._record.state().stalled is not None
        watch = StallWatch(
            self.followers, self._plan, seconds, self._emit, on_stall, is_stalled=was_told
        )
        await watch.watch()

    async def _stop_stalled(self, what: str) -> None:
        await self._stop_for(Stop(StopReason.STALL, text=what), self._grace)

    async def _watch_stop_requests(self) -> None:
        """Stop all nodes for each request to stop that is left in the run's folder.

        A node that hangs while it is told keeps no later request from being heeded.
        """
        async with asyncio.TaskGroup() as stops:
            async for request in stop_requests(self._record.folder):
                grace = self._grace if request.grace is None else request.grace
                stops.create_task(self._stop_for(Stop(request.reason), grace))

    async def _stop_for(self, why: Stop, grace: float) -> None:
        """Stop all nodes, and have this be how the run ended, unless it was stopped for another reason."""
        self._stopped = self._stopped or why
        await self._stop_all(why, grace)

    async def _stop_all(self, why: Stop, grace: float) -> None:
        self._stop_grace = min(grace, self._stop_grace)
        self._emit(events.Stopping(why, grace))
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
        await asyncio.gather(*(node.stop(why, grace) for node in self.followers))

    def _note_news(self) -> None:
        for node in self.followers:
            self._witness.look(node.state)
        self._news.set()

    def _are_stranded(self) -> bool:
        states = [node.state for node in self.followers]
        return self._members is not None and self._members.are_stranded(states)

    def _view(self) -> tuple[Plan, list[NodeState]]:
        """Return what is to run, and what is known of the nodes: of those that it needs."""
        states = [node.state for node in self.followers]
        if self._members is None:
            return self._plan, states
        self._members.look(states)
        return self._members.view(states)

    # -- telling -------------------------------------------------------------------------------

    def _emit(self, event: events.Event) -> None:
        log_event(event)
        with self._unstoppable():
            self._record.note(event)
        self._emit_outside(event)

    @contextmanager
    def _unstoppable(self) -> Iterator[None]:
        """A full disk on this machine must not keep anybody from following or stopping the run."""
        try:
            yield
        except OSError as error:
            if self._can_write:
                self._can_write = False
                self._emit_outside(events.Warned(f"the run's record cannot be written: {error}"))
        else:
            self._can_write = True


def _gone(record: Record) -> dict[str, str]:
    nodes = record.state().nodes.values()
    return {node.name: node.gone for node in nodes if node.gone is not None}


def _members_of(record: Record) -> Membership | None:
    """Return who has a share in an elastic run, None of any other."""
    if record.plan.elastic is None:
        return None
    nodes = record.state().nodes.values()
    left = {node.name: node.cause for node in nodes if node.state == "left"}
    return Membership(record.plan, record.plan.elastic, left)
