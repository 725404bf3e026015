"""Mind a run that has started, to its verdict: follow its nodes, react, stop.

Whoever minds it (a launch at a terminal, a keeper in the background) may go at any time; the next one
goes on from the run's folder and from what the nodes tell.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from orchestrator import events
from orchestrator.plan import Plan
from orchestrator.remote.line import Line
from orchestrator.runs.culprit import Culprit, NodeState, find_culprit
from orchestrator.runs.elastic import mind_members
from orchestrator.runs.explain import Accounts, Known, explain
from orchestrator.runs.follower import Follower
from orchestrator.runs.interrupts import Interrupts
from orchestrator.runs.links import look_for_gone, mind_links
from orchestrator.runs.membership import Membership
from orchestrator.runs.record import Record
from orchestrator.runs.stall import StallWatch
from orchestrator.runs.verdict import (
    FAILED,
    Stopped,
    Verdict,
    all_ended,
    find_stop,
    judge,
    stalled,
    timed_out,
)
from orchestrator.runs.wishes import find_wish

SETTLE = 1.0  # seconds that the others have, after a failure, to print their own errors
BARRIER = 5.0  # seconds that launchers have, after every rank has ended, to end too
_STOP_MARGIN = 25.0  # seconds beyond the grace until a node that says nothing is given up: a
# supervisor needs at most 21, with a process that cannot be killed
_NO_ROOM = 10.0  # seconds for which a run that has ended waits for room for its logs here
_LOOK_FOR_WISHES = 0.2
_LOOK_WHETHER_ALL_ENDED = 0.05
_EVIDENCE = 8.0  # seconds that a node has to tell what it knows of a rank's end
_LOOK_AT_CLOCK = 60.0  # seconds: it may be set, and a machine that slept slept through its pauses


class Detached(Exception):
    """The run goes on, and somebody else is to mind it; the argument says why."""


class Run:
    """A run whose record we hold, on the nodes at the other ends of `lines`; `emit` hears what happens."""

    def __init__(
        self,
        record: Record,
        lines: Sequence[Line],
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
        self._news = asyncio.Event()
        self._stopping_since: float | None = None  # time.monotonic
        self._stop_grace = self._grace
        self._can_write = True
        self._stopped: Stopped | None = None
        self.followers = [
            Follower(node, line, record, self._emit, self._news.set)
            for node, line in zip(self._plan.nodes, lines, strict=True)
        ]
        if self._members is not None:
            for node in self.followers:
                node.gone = self._members.left.get(node.name)

    async def watch(self) -> Verdict:
        """Follow every node to its end and return the verdict, which `conclude` makes the run's.

        Raises Detached.
        """
        self._emit(events.Started(self._plan.run, self._record.folder))
        left: str | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                following = [tasks.create_task(node.follow()) for node in self.followers]
                minding = [tasks.create_task(minder) for minder in self._minders()]
                leaving = tasks.create_task(self._interrupts.wait_for_leave())
                ending = tasks.create_task(self._await_end(following))
                await asyncio.wait([ending, leaving], return_when=asyncio.FIRST_COMPLETED)
                if ending.done() or self._stopping_since is not None:
                    await ending
                else:
                    left = leaving.result()
                for task in (*following, *minding, leaving, ending):
                    task.cancel()
        except (
            BaseException
        ):  # cancelled from outside, or a bug: nobody would mind the run any more
            await self._stop_all("orch is ending", self._grace)
            raise
        if left is not None:
            raise Detached(left)
        return await self._judge()

    def has_failed(self, verdict: Verdict) -> bool:
        """Tell whether a failure ended it, or that it had stalled: no person, and no time limit."""
        if self._stopped is not None:
            return self._stopped.is_failure
        return verdict.culprit is not None

    async def _judge(self) -> Verdict:
        plan, states = self._view()
        try:
            verdict = judge(plan, states, self._stopped, Accounts(self._record.logs))
            if verdict.culprit is not None:
                explained = await self._explain(verdict.culprit, plan)
                verdict = replace(verdict, explained=explained)
        except Exception as error:  # whatever ranks have printed, their run has ended
            self._emit(events.Warned(f"why the run failed cannot be explained: {error!r:.200}"))
            verdict = judge(plan, states, self._stopped)
        if verdict.culprit is None and self._members is not None and self._members.left:
            without = f"without {', '.join(self._members.left)}"
            verdict = replace(verdict, summary=f"{verdict.summary}, {without}")
        for name, pids in verdict.left.items():
            numbers = ", ".join(map(str, pids))
            self._emit(events.Warned(f"{name}: could not be killed: process {numbers}"))
        return verdict

    async def _explain(self, culprit: Culprit, plan: Plan) -> events.Explained:
        nodes = {node.name: node.state for node in self.followers}
        if all(node.name != culprit.node for node in plan.nodes):  # it has left
            plan = self._plan
        known = Known()
        if culprit.rank is not None:
            follower = next(node for node in self.followers if node.name == culprit.node)
            known = await follower.ask_about(nodes[culprit.node].ranks[culprit.rank], _EVIDENCE)
        return explain(plan, nodes, culprit, self._record.logs, known)

    def conclude(self, verdict: Verdict, *, also_missing: tuple[str, ...] = ()) -> None:
        """Put on record, and tell, that the run has ended with `verdict`: no other attempt follows.

        `also_missing` are nodes that had a share of an earlier one, and have not told all of it.
        """
        missing = tuple(node.name for node in self.followers if not node.has_all) + also_missing
        if missing:
            names = ", ".join(missing)
            self._emit(
                events.Warned(
                    f"the logs of {names} are not complete here; "
                    f"`orch logs {self._plan.run}` fetches what is there"
                )
            )
        if verdict.explained is not None:
            self._emit(verdict.explained)
        with self._unstoppable():
            self._record.write_state(
                "ended",
                exit_code=verdict.exit_code,
                summary=verdict.summary,
                missing=missing,
                verdict=verdict.explained,
            )
        seconds = time.time() - self._record.began
        self._emit(
            events.Ended(
                self._plan.run, verdict.exit_code, seconds, verdict.summary, self._record.folder
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
        return max(self._stopping_since, node.heard_at) + self._stop_grace + _STOP_MARGIN

    # -- minding -------------------------------------------------------------------------------

    def _minders(self) -> Iterator[Coroutine[None, None, None]]:
        yield self._mind_gang()
        yield self._mind_person(1)
        yield self._mind_person(2)
        yield self._mind_wishes()
        if self._members is not None:
            yield mind_members(
                self._members, self.followers, self._grace, self._emit, self._news.set
            )
        if self._record.settings.timeout is not None:
            yield self._mind_time(self._record.settings.timeout)
        yield mind_links(
            self.followers,
            self._plan.main_port,
            self._record.settings.node_timeout,
            self._emit,
            self._news.set,
        )
        if self._record.settings.stall is not None:
            yield self._mind_stalls(self._record.settings.stall)
        if self._record.settings.lease is not None:
            for node in self.followers:
                yield node.renew_lease(self._record.settings.lease)

    async def _mind_gang(self) -> None:
        """Stop all nodes when a rank failed or a node stopped anywhere, or when only launchers are left."""
        while True:
            await self._news.wait()
            self._news.clear()
            failed = None if self._keeps_going else self._find_failure()
            if failed is not None:
                await asyncio.gather(
                    self._settle_and_stop(failed),
                    look_for_gone(self.followers, self._plan.main_port),
                )
                return
            plan, states = self._view()
            stop = find_stop(states)
            if stop is not None and self._stopping_since is None:
                await self._stop_all(stop, self._grace)
                return
            if all_ended(plan, states) or self._are_stranded():
                await asyncio.sleep(BARRIER)
                if any(not node.has_ended and node.gone is None for node in self.followers):
                    await self._stop_all("every rank has ended, a launcher has not", self._grace)
                return

    async def _settle_and_stop(self, failed: Culprit) -> None:
        """Stop all nodes, once the others have had the time to print their own errors.

        Of a node that is gone, they have waited for long enough.
        """
        is_node = failed.end is None
        for _ in range(0 if is_node else round(SETTLE / _LOOK_WHETHER_ALL_ENDED)):
            if all_ended(*self._view()):
                break
            await asyncio.sleep(_LOOK_WHETHER_ALL_ENDED)
        what = "a launcher" if failed.rank is None else "a rank"
        await self._stop_all(f"{failed.node if is_node else what}{FAILED}", self._grace)

    def _find_failure(self) -> Culprit | None:
        """Return what failed, once the run has failed for good."""
        _, states = self._view()
        culprit = find_culprit(states)
        if self._members is not None:
            return culprit if self._members.is_over else None
        if culprit is None or culprit.end is None or not self._plan.restarts_itself:
            return culprit
        # A launcher that starts failed ranks again has failed when it has ended itself.
        launchers = [state.status.launcher for state in states if state.status is not None]
        return culprit if any(launchers) else None

    async def _mind_person(self, count: int) -> None:
        """Stop all nodes at the first interrupt, kill at the second, also while the first is told."""
        await self._interrupts.wait(count)
        reason, grace = ("interrupted", self._grace) if count == 1 else ("interrupted twice", 0.0)
        assert self._interrupts.signal is not None
        self._stopped = self._stopped or Stopped.by_signal(self._interrupts.signal)
        await self._stop_all(reason, grace)

    async def _mind_time(self, timeout: float) -> None:
        """Stop all nodes when the run has had its time, whoever minded it meanwhile."""
        end = self._record.began + timeout
        while True:
            await asyncio.sleep(min(max(0.0, end - time.time()), _LOOK_AT_CLOCK))
            if time.time() >= end:
                break
        reason = timed_out(timeout)
        self._stopped = self._stopped or Stopped.for_reason(reason)
        await self._stop_all(reason, self._grace)

    async def _mind_stalls(self, seconds: float) -> None:
        """Tell when the run does not get on, and stop all nodes then if that is wanted."""
        on_stall = self._stop_stalled if self._record.settings.stop_when_stalled else None
        was_told = self._record.state().stalled is not None
        watch = StallWatch(
            self.followers, self._plan, seconds, self._emit, on_stall, is_stalled=was_told
        )
        await watch.mind()

    async def _stop_stalled(self, what: str) -> None:
        reason = stalled(what)
        self._stopped = self._stopped or Stopped.for_reason(reason)
        await self._stop_all(reason, self._grace)

    async def _mind_wishes(self) -> None:
        """Stop all nodes when somebody has left the wish in the run's folder, and for each new wish.

        A node that hangs while it is told keeps no later wish from being heeded.
        """
        last = None
        async with asyncio.TaskGroup() as stops:
            while True:
                wish = find_wish(self._record.folder)
                if wish is not None and wish != last:
                    last = wish
                    self._stopped = self._stopped or Stopped.by_wish(wish.reason)
                    grace = self._grace if wish.grace is None else wish.grace
                    stops.create_task(self._stop_all(wish.reason, grace))
                await asyncio.sleep(_LOOK_FOR_WISHES)

    async def _stop_all(self, reason: str, grace: float) -> None:
        self._stop_grace = min(grace, self._stop_grace)
        self._emit(events.Stopping(reason, grace))
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
        await asyncio.gather(*(node.stop(reason, grace) for node in self.followers))

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


def _members_of(record: Record) -> Membership | None:
    """Return who has a share in an elastic run, None of any other."""
    if record.plan.elastic is None:
        return None
    nodes = record.state().nodes.values()
    left = {node.name: node.cause for node in nodes if node.state == "left"}
    return Membership(record.plan, record.plan.elastic, left)
