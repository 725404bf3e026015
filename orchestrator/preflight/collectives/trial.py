"""Start a script of orch's own on all nodes as a launch would, read its output, and leave nothing behind.

A trial is not a run: it has no record. On the nodes its folder is removed with it, at the latest when the
connection ends (`node/trial.py`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from orchestrator.errors import NodeError
from orchestrator.plan import NodePlan, Plan
from orchestrator.preflight.collectives.task import Message, parse
from orchestrator.preflight.model import Advance
from orchestrator.remote.agent import Agent
from orchestrator.remote.fleet import Fleet
from orchestrator.remote.reports import Chunk, ProcessEnd, RankReport, Report, StatusReport
from orchestrator.util.answers import parse_answer, text
from orchestrator.util.text import printable

_FAILURE_DELAY = 3.0  # seconds after a failure in which other nodes may report theirs
_START_TIMEOUT = 60.0
_DISCARD_TIMEOUT = 20.0
_MAX_LINE_BYTES = 8 << 10
_MAX_MESSAGES = 4096
_MAX_LINES = 100  # an exception of torch's has a long stack after it


class OutputParser:
    """Reads one stream in pieces: the messages of the script, and the last lines of all else."""

    def __init__(self, mark: bytes) -> None:
        self._mark = mark
        self._rest = b""
        self._lines: deque[bytes] = deque(maxlen=_MAX_LINES)
        self.messages: list[Message] = []

    def feed(self, data: bytes) -> None:
        """Read what the stream gained."""
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:_MAX_LINE_BYTES]
        for line in lines:
            self._read(line[:_MAX_LINE_BYTES])

    def _read(self, line: bytes) -> None:
        if line.startswith(self._mark) and len(self.messages) < _MAX_MESSAGES:
            try:
                self.messages.append(parse(line[len(self._mark) :]))
                return
            except ValueError:
                pass  # not the script's: keep it with the other output
        if line.strip():
            self._lines.append(line)

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The last lines of other output, safe for a terminal."""
        lines = [*self._lines, *([self._rest] if self._rest.strip() else [])]
        return tuple(printable(line, 400) for line in lines)


@dataclass(frozen=True)
class Share:
    """The result of one node's share of a trial.

    `output` has the last lines of each stream by its name (`rank-2.err`, `launcher.out`, ...), without the
    `messages`. `problem` is why it could not be started, or was lost.
    """

    node: str
    messages: tuple[Message, ...] = ()
    output: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ranks: Mapping[int, ProcessEnd] = field(default_factory=dict)
    launcher: ProcessEnd | None = None
    problem: str | None = None

    @property
    def failed(self) -> bool:
        """Whether it failed by itself."""
        ends = [*self.ranks.values(), *([self.launcher] if self.launcher else [])]
        return self.problem is not None or not all(end.succeeded for end in ends)


async def run_trial(
    fleet: Fleet, plan: Plan, script: str, mark: str, limit: float, advance: Advance
) -> tuple[Share, ...]:
    """Run `script` (its text; the plan's job names it) as planned, for `limit` seconds at most.

    Returns each node's share, in node order; nothing of it is left on the nodes. After a failure the
    others are stopped.
    """
    pairs = zip(fleet.agents, plan.nodes, strict=True)
    nodes = [_NodeTrial(agent, node, plan.run, mark.encode()) for agent, node in pairs]
    try:
        await asyncio.gather(*(node.upload(script) for node in nodes))
        if not any(node.share.failed for node in nodes):
            await asyncio.gather(*(node.start() for node in nodes))
        await _follow_all(nodes, limit, advance)
    finally:
        await asyncio.gather(*(node.discard() for node in nodes))
    return tuple(node.share for node in nodes)


async def _follow_all(nodes: Sequence[_NodeTrial], limit: float, advance: Advance) -> None:
    """Follow all until they end, or until the time is over, which is soon after a failure."""
    with suppress(TimeoutError):
        async with asyncio.timeout(limit) as timeout:

            def on_failure() -> None:
                soon = asyncio.get_running_loop().time() + _FAILURE_DELAY
                if not timeout.expired() and (timeout.when() or soon) >= soon:
                    timeout.reschedule(soon)

            async def follow(node: _NodeTrial) -> None:
                await node.follow(on_failure)
                advance(node.share.node, not node.share.failed)

            async with asyncio.TaskGroup() as tasks:
                for node in nodes:
                    tasks.create_task(follow(node))


class _NodeTrial:
    """One node's share of a trial while it runs."""

    def __init__(self, agent: Agent, node: NodePlan, run: str, mark: bytes) -> None:
        self._agent = agent
        self._node = node
        self._run = run
        self._mark = mark
        self._parsers: dict[str, OutputParser] = {}
        self._known = Share(node.name)
        self._started = False

    @property
    def share(self) -> Share:
        """What is known of it."""
        parsers = self._parsers.items()
        messages = [message for _, parser in parsers for message in parser.messages]
        return replace(
            self._known,
            messages=tuple(each for each in messages if each.rank in self._node.ranks),
            output={path.rpartition("/")[2]: parser.last_lines for path, parser in parsers},
        )

    async def upload(self, script: str) -> None:
        """Put the script into the trial's folder, in which it will run."""
        try:
            answer = await self._agent.ask(
                "put", run=self._run, node=self._node.name, name="all_reduce.py", text=script
            )
            folder = parse_answer(
                self._node.name, "put", lambda answer: text(answer["folder"]), answer
            )
            # torchrun leaves folders of logs in TMPDIR; there they are removed with the trial.
            environment = {**self._node.environment, "TMPDIR": folder}
            self._node = replace(self._node, workdir=folder, environment=environment)
        except NodeError as error:
            self._fail(f"the script cannot be uploaded: {error}")

    async def start(self) -> None:
        """Start the launcher, or the ranks."""
        try:
            spec = self._node.spec(self._run, attempt=0)
            answer = await self._agent.ask("start", timeout=_START_TIMEOUT, **spec)
            problem = answer["problem"]
        except (NodeError, LookupError, TypeError) as error:
            problem = str(error)
        self._started = problem is None
        if problem is not None:
            self._fail(f"it cannot be started: {problem}")

    async def follow(self, on_failure: Callable[[], None]) -> None:
        """Read its output until it ends; `on_failure` is called as soon as it fails."""
        if not self._started:
            on_failure()
            return
        try:
            async for report in self._agent.follow(self._run, {}):
                self._record(report)
                if self._known.failed:
                    on_failure()
        except NodeError as error:
            self._fail(f"it was lost: {error}")
            on_failure()

    def _record(self, report: Report) -> None:
        if isinstance(report, Chunk):
            # Each rank has two streams, and so has the launcher: do not keep any number of them.
            if len(self._parsers) < 2 * (self._node.devices + 1):
                self._parsers.setdefault(report.path, OutputParser(self._mark))
            if report.path in self._parsers:
                self._parsers[report.path].feed(report.data)
        elif isinstance(report, StatusReport):
            self._known = replace(self._known, launcher=report.launcher)
            if report.state == "lost":
                self._fail("orch's supervisor there was killed")
        elif isinstance(report, RankReport) and report.end and report.rank in self._node.ranks:
            ranks = {**self._known.ranks, report.rank: report.end}
            self._known = replace(self._known, ranks=ranks)

    def _fail(self, problem: str) -> None:
        self._known = replace(self._known, problem=printable(problem, 500))

    async def discard(self) -> None:
        """End what is left of it, and remove its folder."""
        try:
            await self._agent.ask(
                "discard", timeout=_DISCARD_TIMEOUT, run=self._run, node=self._node.name
            )
        except NodeError as error:
            # The agent ends with the connection, and then discards it by itself.
            if self._known.problem is None:
                self._fail(f"it was lost: {error}")
