"""Drive a run from its start on all nodes to its verdict: follow, keep, react, stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from orchestrator import events
from orchestrator.errors import LaunchError, NodeError
from orchestrator.logs.store import GapError
from orchestrator.logs.stream import Stream
from orchestrator.plan import Plan
from orchestrator.remote.agent import Agent
from orchestrator.remote.fleet import Fleet
from orchestrator.remote.reports import Chunk, RankReport, StatusReport
from orchestrator.runs.interrupts import Interrupts
from orchestrator.runs.record import Record
from orchestrator.runs.verdict import NodeState, Verdict, all_succeeded, find_culprit, judge

SETTLE = 1.0  # seconds that the others have, after a failure, to print their own errors
BARRIER = 5.0  # seconds that launchers have, after every rank ended well, to end too
_STOP_MARGIN = 20.0  # seconds beyond the grace until a node that says nothing is given up
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0  # seconds between attempts to come back to a node


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
        self._nodes = [
            _Node(node.name, skew) for node, skew in zip(plan.nodes, clock_skews, strict=True)
        ]
        self._news = asyncio.Event()
        self._stopping = asyncio.Event()
        self._stop_grace: float | None = None

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
            await self._stop_all("a node could not start", 0.0)
            self._write_state("failed", problem="\n".join(problems))
            raise LaunchError("\n".join([*problems, "the other nodes were stopped again"]))
        self._write_state("running")

    async def watch(self) -> Verdict:
        """Follow every node to the end of the run and return the verdict."""
        began = time.monotonic()
        self._emit(events.Started(self._plan.run, self._record.folder))
        try:
            async with asyncio.TaskGroup() as tasks:
                followers = [tasks.create_task(self._follow(i)) for i in range(len(self._nodes))]
                minders = [self._mind_gang(), self._mind_person(1), self._mind_person(2)]
                minding = [tasks.create_task(minder) for minder in minders]
                await self._await_end(followers)
                for task in (*followers, *minding):
                    task.cancel()
        except (
            BaseException
        ):  # cancelled from outside, or a bug: nobody would mind the run any more
            await self._stop_all("orch is ending", self._grace)
            raise
        verdict = judge(self._plan, self._states(), self._interrupts.signal)
        self._write_state("ended", exit_code=verdict.exit_code, summary=verdict.summary)
        seconds = time.monotonic() - began
        self._emit(
            events.Ended(
                self._plan.run, verdict.exit_code, seconds, verdict.summary, self._record.folder
            )
        )
        return verdict

    async def _await_end(self, followers: Sequence[asyncio.Task[None]]) -> None:
        """Wait until all nodes have ended and all they wrote is here.

        Once they are told to stop, a node that says nothing for too long is not waited for.
        """
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait(
                [asyncio.create_task(asyncio.wait(followers)), stopping],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            stopping.cancel()
        bound = self._grace + _STOP_MARGIN
        began = time.monotonic()
        while True:
            waited_for = [
                (follower, max(began, node.heard_at) + bound)
                for node, follower in zip(self._nodes, followers, strict=True)
                if not follower.done()
            ]
            patience = max((until for _, until in waited_for), default=0.0) - time.monotonic()
            if patience <= 0:
                break
            await asyncio.wait([follower for follower, _ in waited_for], timeout=patience)
        for node, follower in zip(self._nodes, followers, strict=True):
            if not follower.done():
                message = f"{node.name}: gave up waiting for its end; run {self._plan.run} may go on there"
                self._emit(events.Warned(message))

    # -- following -----------------------------------------------------------------------------

    async def _follow(self, index: int) -> None:
        """Follow one node to the end of its share, coming back for as long as it takes."""
        node, pause = self._nodes[index], _FIRST_PAUSE
        while True:
            began = time.monotonic()
            try:
                await self._follow_connection(index, self._fleet.agents[index])
                return
            except (NodeError, GapError, OSError) as error:  # OSError: this machine's disk is full
                if not node.lost:
                    node.lost = True
                    self._emit(events.NodeLost(node.name, str(error)))
            if time.monotonic() - began > _LONGEST_PAUSE:
                pause = _FIRST_PAUSE  # it was well for a while
            while True:
                await asyncio.sleep(pause)
                pause = min(_LONGEST_PAUSE, pause * 2)
                with suppress(LaunchError):  # still away: NodeLost has said so
                    await self._fleet.reconnect(index)
                    break
            node.lost = False
            self._emit(events.NodeBack(node.name))
            if self._stop_grace is not None:
                await self._stop_node(index, self._stop_grace, "the run was stopped meanwhile")

    async def _follow_connection(self, index: int, agent: Agent) -> None:
        node = self._nodes[index]
        first_rank = self._plan.nodes[index].first_rank
        offsets = self._record.store.sizes(node.name)
        async for report in agent.follow(self._plan.run, offsets):
            node.heard_at = time.monotonic()
            if isinstance(report, Chunk):
                self._keep(node, first_rank, report)
            elif isinstance(report, RankReport):
                self._note_rank(node, report)
            else:
                node.status = report
                if report.state == "lost":
                    answer = await agent.ask("sweep", run=self._plan.run, node=node.name)
                    node.status = StatusReport("lost", report.launcher, tuple(answer["left"]))
                self._news.set()

    def _keep(self, node: _Node, first_rank: int, chunk: Chunk) -> None:
        stream = node.streams.get(chunk.path)
        if stream is None:
            stream = node.streams[chunk.path] = _stream_of(node.name, chunk.path, first_rank)
        fresh = self._record.store.append(stream, chunk.offset, chunk.data, chunk.time)
        if fresh:
            offset = chunk.offset + len(chunk.data) - len(fresh)
            copy = self._record.folder / "logs" / node.name / chunk.path
            self._emit_outside(events.Output(stream, offset, fresh, chunk.time, copy))

    def _note_rank(self, node: _Node, report: RankReport) -> None:
        known = node.ranks.get(report.rank)
        if known is not None and (
            known.attempt > report.attempt
            or (known.attempt, known.end) == (report.attempt, report.end)
        ):
            return  # told again after a new connection, or of an attempt that is past
        node.ranks[report.rank] = report
        if report.end is not None and report.ended is not None:
            end = report.end
            self._emit(events.RankEnded(report.rank, node.name, end.code, end.signal, report.ended))
        self._news.set()

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
                if any(not node.has_ended for node in self._nodes):
                    await self._stop_all("every rank has ended, a launcher has not", self._grace)
                return

    def _has_failed(self) -> bool:
        """Tell whether the run has failed for good."""
        if self._plan.restarts_itself and not any(
            node.status is not None and node.status.launcher is not None for node in self._nodes
        ):
            return False
        return find_culprit(self._states()) is not None

    async def _mind_person(self, count: int) -> None:
        """Stop all nodes at the first interrupt, kill at the second, also while the first is told."""
        await self._interrupts.wait(count)
        reason, grace = ("interrupted", self._grace) if count == 1 else ("interrupted twice", 0.0)
        await self._stop_all(reason, grace)

    async def _stop_all(self, reason: str, grace: float) -> None:
        self._stop_grace = grace
        self._stopping.set()
        self._emit(events.Stopping(reason, grace))
        await asyncio.gather(
            *(self._stop_node(index, grace, reason) for index in range(len(self._nodes)))
        )

    async def _stop_node(self, index: int, grace: float, reason: str) -> None:
        node = self._nodes[index]
        if node.stopped_at is None:
            node.stopped_at = time.time() + node.clock_skew
        try:
            agent = self._fleet.agents[index]
            answer = await agent.ask(
                "stop", run=self._plan.run, node=node.name, grace=grace, reason=reason
            )
            if not answer["alive"] and not node.has_ended:
                await agent.ask("sweep", run=self._plan.run, node=node.name)
        except (NodeError, KeyError, TypeError) as error:
            self._emit(events.Warned(f"{node.name} could not be told to stop: {error}"))

    def _states(self) -> list[NodeState]:
        return [
            NodeState(node.name, node.ranks, node.status, node.clock_skew, node.stopped_at)
            for node in self._nodes
        ]

    # -- telling --------------------------------------------------------------------------------

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


def _stream_of(node: str, path: str, first_rank: int) -> Stream:
    """Return the stream that a node means by `path`. Raises NodeError when there can be none."""
    try:
        stream = Stream.parse(node, path)
        if stream.rank is not None:
            stream = Stream.parse(node, path, stream.rank - first_rank)
    except ValueError as error:
        raise NodeError(str(error)) from None
    return stream


class _Node:
    """What is known of one node while the run goes on."""

    def __init__(self, name: str, clock_skew: float) -> None:
        self.name = name
        self.clock_skew = clock_skew
        self.streams: dict[str, Stream] = {}
        self.ranks: dict[int, RankReport] = {}
        self.status: StatusReport | None = None
        self.stopped_at: float | None = None
        self.lost = False
        self.heard_at = 0.0  # monotonic: when it last told anything

    @property
    def has_ended(self) -> bool:
        return self.status is not None and self.status.state in ("ended", "lost")
