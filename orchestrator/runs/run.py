"""Drive a run from its start on all nodes to its verdict: follow, react, stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from orchestrator import events
from orchestrator.errors import LaunchError, NodeError
from orchestrator.plan import Plan
from orchestrator.remote.fleet import Fleet
from orchestrator.runs.follower import Follower
from orchestrator.runs.interrupts import Interrupts
from orchestrator.runs.record import Record
from orchestrator.runs.verdict import NodeState, Verdict, all_succeeded, find_culprit, judge

SETTLE = 1.0  # seconds that the others have, after a failure, to print their own errors
BARRIER = 5.0  # seconds that launchers have, after every rank ended well, to end too
_STOP_MARGIN = 25.0  # seconds beyond the grace until a node that says nothing is given up: a
# supervisor needs at most 21, with a process that cannot be killed


class Run:
    """One run on the nodes of `fleet`, as planned; `emit` hears what happens."""

    def __init__(
        self,
        plan: Plan,
        fleet: Fleet,
        record: Record,
        emit: events.Emit,
        interrupts: Interrupts,
        *,
        clock_skews: Sequence[float],
        grace: float,
    ) -> None:
        self._plan = plan
        self._fleet = fleet
        self._record = record
        self._emit_outside = emit
        self._interrupts = interrupts
        self._grace = grace
        self._news = asyncio.Event()
        self._stopping = asyncio.Event()
        self._stop_grace = grace
        self._followers = [
            Follower(plan.run, node, fleet, index, record, self._emit, self._news.set, skew)
            for index, (node, skew) in enumerate(zip(plan.nodes, clock_skews, strict=True))
        ]

    async def start(self) -> None:
        """Start every node's share. If one cannot, stop the others and raise LaunchError."""
        answers = await asyncio.gather(
            *(
                agent.ask("start", timeout=60.0, **node.spec(self._plan.run, attempt=0))
                for agent, node in zip(self._fleet.agents, self._plan.nodes, strict=True)
            ),
            return_exceptions=True,
        )
        problems = []
        for node, answer in zip(self._plan.nodes, answers, strict=True):
            if isinstance(answer, NodeError):
                problems.append(str(answer))
            elif isinstance(answer, BaseException):
                raise answer
            elif not isinstance(answer, dict) or answer.get("problem", "") is not None:
                reason = answer.get("problem") if isinstance(answer, dict) else answer
                problems.append(f"{node.name}: cannot start the job: {reason}")
        if problems:
            problems.extend(await self._take_back())
            self._write_state("failed", problem="\n".join(problems))
            raise LaunchError("\n".join(problems))
        self._write_state("running")

    async def _take_back(self) -> list[str]:
        """Stop what has started, and return what there is to say about that."""
        await self._stop_all("a node could not start", 0.0)
        results = await asyncio.gather(
            *(
                agent.ask("sweep", run=self._plan.run, node=node.name)
                for agent, node in zip(self._fleet.agents, self._plan.nodes, strict=True)
            ),
            return_exceptions=True,
        )
        clean = all(isinstance(result, dict) and result.get("left") == [] for result in results)
        return ["the other nodes were stopped again"] if clean else ["processes may be left"]

    async def watch(self) -> Verdict:
        """Follow every node to the end of the run and return the verdict."""
        began = time.monotonic()
        self._emit(events.Started(self._plan.run, self._record.folder))
        try:
            async with asyncio.TaskGroup() as tasks:
                following = [tasks.create_task(node.follow()) for node in self._followers]
                minders = [self._mind_gang(), self._mind_person(1), self._mind_person(2)]
                minding = [tasks.create_task(minder) for minder in minders]
                await self._await_end(following)
                for task in (*following, *minding):
                    task.cancel()
        except (
            BaseException
        ):  # cancelled from outside, or a bug: nobody would mind the run any more
            await self._stop_all("orch is ending", self._grace)
            raise
        verdict = judge(self._plan, self._states(), self._interrupts.signal)
        for name, pids in verdict.left.items():
            numbers = ", ".join(map(str, pids))
            self._emit(events.Warned(f"{name}: could not be killed: process {numbers}"))
        self._write_state("ended", exit_code=verdict.exit_code, summary=verdict.summary)
        seconds = time.monotonic() - began
        self._emit(
            events.Ended(
                self._plan.run, verdict.exit_code, seconds, verdict.summary, self._record.folder
            )
        )
        return verdict

    async def _await_end(self, following: Sequence[asyncio.Task[None]]) -> None:
        """Wait until all nodes have ended and all that they wrote is here.

        Once they are told to stop, a node that tells nothing new for too long is not waited for; nor
        is any after a third interrupt.
        """
        ended = asyncio.create_task(asyncio.wait(following))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([ended, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            stopping.cancel()
        began = time.monotonic()
        while self._interrupts.count < 3:
            waited_for = [
                (task, max(began, node.heard_at) + self._stop_grace + _STOP_MARGIN)
                for node, task in zip(self._followers, following, strict=True)
                if not task.done()
            ]
            patience = max((until for _, until in waited_for), default=0.0) - time.monotonic()
            if patience <= 0:
                break
            # In steps: the grace may become shorter meanwhile.
            await asyncio.wait([task for task, _ in waited_for], timeout=min(patience, 0.5))
        for node, task in zip(self._followers, following, strict=True):
            if not task.done():
                message = f"{node.name}: gave up waiting; run {self._plan.run} may go on there"
                self._emit(events.Warned(message))

    # -- stopping ------------------------------------------------------------------------------

    async def _mind_gang(self) -> None:
        """Stop all nodes when a rank failed anywhere, or when only launchers are left."""
        while True:
            await self._news.wait()
            self._news.clear()
            if self._has_failed():
                await asyncio.sleep(SETTLE)
                await self._stop_all("a rank failed", self._grace)
                return
            if all_succeeded(self._plan, self._states()):
                await asyncio.sleep(BARRIER)
                if any(not node.has_ended for node in self._followers):
                    await self._stop_all("every rank has ended, a launcher has not", self._grace)
                return

    def _has_failed(self) -> bool:
        """Tell whether the run has failed for good."""
        states = self._states()
        if self._plan.restarts_itself and not any(
            state.status is not None and state.status.launcher is not None for state in states
        ):
            return False
        return find_culprit(states) is not None

    async def _mind_person(self, count: int) -> None:
        """Stop all nodes at the first interrupt, kill at the second, also while the first is told."""
        await self._interrupts.wait(count)
        reason, grace = ("interrupted", self._grace) if count == 1 else ("interrupted twice", 0.0)
        await self._stop_all(reason, grace)

    async def _stop_all(self, reason: str, grace: float) -> None:
        self._stop_grace = min(grace, self._stop_grace)
        self._emit(events.Stopping(reason, grace))
        self._stopping.set()
        await asyncio.gather(*(node.stop(reason, grace) for node in self._followers))

    def _states(self) -> list[NodeState]:
        return [node.state for node in self._followers]

    # -- telling -------------------------------------------------------------------------------

    def _emit(self, event: events.Event) -> None:
        with self._unstoppable():
            self._record.note(event)
        self._emit_outside(event)

    def _write_state(self, state: str, **more: Any) -> None:
        with self._unstoppable():
            self._record.write_state(state, **more)

    @contextmanager
    def _unstoppable(self) -> Iterator[None]:
        """A full disk on this machine must not keep anybody from following or stopping the run."""
        try:
            yield
        except OSError as error:
            self._emit_outside(events.Warned(f"the run's record cannot be written: {error}"))
