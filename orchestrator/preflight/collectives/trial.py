"""Start a script of orch's own on all nodes as a launch would, hear what it tells, and leave nothing.

A trial is no run of a person's: it has no record. On the nodes its folder is gone with it, and with the
connection at the latest (`node/trial.py`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from orchestrator.errors import NodeError
from orchestrator.plan import NodePlan, Plan
from orchestrator.preflight.collectives.task import Word, parse
from orchestrator.preflight.model import Advance
from orchestrator.remote.agent import Agent
from orchestrator.remote.answers import parse_answer, text
from orchestrator.remote.fleet import Fleet
from orchestrator.remote.reports import Chunk, ProcessEnd, RankReport, Report, StatusReport
from orchestrator.util.text import printable

_SETTLE = 3.0  # seconds that the others have, after a failure, to tell their own
_START_TIME = 60.0
_DISCARD_TIME = 20.0
_LONGEST_LINE = 8 << 10
_MOST_WORDS = 4096
_LINES_KEPT = 100  # an exception of torch's has a long stack beneath it


class Ear:
    """Hears one stream in pieces: the words of the script, and the last lines of all else."""

    def __init__(self, mark: bytes) -> None:
        self._mark = mark
        self._rest = b""
        self._lines: deque[bytes] = deque(maxlen=_LINES_KEPT)
        self.words: list[Word] = []

    def hear(self, data: bytes) -> None:
        """Take in what the stream gained."""
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:_LONGEST_LINE]  # of a line without end, its beginning
        for line in lines:
            self._take(line[:_LONGEST_LINE])

    def _take(self, line: bytes) -> None:
        if line.startswith(self._mark) and len(self.words) < _MOST_WORDS:
            try:
                self.words.append(parse(line[len(self._mark) :]))
                return
            except ValueError:
                pass  # it is none of the script's: keep it with what else was said
        if line.strip():
            self._lines.append(line)

    @property
    def last_lines(self) -> tuple[str, ...]:
        """What else was said last, harmless to a terminal."""
        lines = [*self._lines, *([self._rest] if self._rest.strip() else [])]
        return tuple(printable(line, 400) for line in lines)


@dataclass(frozen=True)
class Share:
    """What one node's share of a trial came to.

    `said` has the last lines of each stream by its name (`rank-2.err`, `launcher.out`, ...), but for the
    `words`. `trouble` is why it could not be started, or was lost.
    """

    node: str
    words: tuple[Word, ...] = ()
    said: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ranks: Mapping[int, ProcessEnd] = field(default_factory=dict)
    launcher: ProcessEnd | None = None
    trouble: str | None = None

    @property
    def failed(self) -> bool:
        """Whether it went wrong by itself."""
        ends = [*self.ranks.values(), *([self.launcher] if self.launcher else [])]
        return self.trouble is not None or not all(end.succeeded for end in ends)


async def run_trial(
    fleet: Fleet, plan: Plan, script: str, mark: str, limit: float, advance: Advance
) -> tuple[Share, ...]:
    """Run `script` (its text; the plan's job names it) as planned, for `limit` seconds at most.

    Returns each node's share, in node order; nothing of it is left on the nodes. After a failure the
    others are stopped.
    """
    pairs = zip(fleet.agents, plan.nodes, strict=True)
    parts = [_Part(agent, node, plan.run, mark.encode()) for agent, node in pairs]
    try:
        await asyncio.gather(*(part.bring(script) for part in parts))
        if not any(part.share.failed for part in parts):
            await asyncio.gather(*(part.start() for part in parts))
        await _follow_all(parts, limit, advance)
    finally:
        await asyncio.gather(*(part.discard() for part in parts))
    return tuple(part.share for part in parts)


async def _follow_all(parts: Sequence[_Part], limit: float, advance: Advance) -> None:
    """Hear all to their end, or until the time is over, which is soon after a failure."""
    with suppress(TimeoutError):
        async with asyncio.timeout(limit) as clock:

            def hurry() -> None:
                soon = asyncio.get_running_loop().time() + _SETTLE
                if not clock.expired() and (clock.when() or soon) >= soon:
                    clock.reschedule(soon)

            async def follow(part: _Part) -> None:
                await part.follow(hurry)
                advance(part.share.node, not part.share.failed)

            async with asyncio.TaskGroup() as tasks:
                for part in parts:
                    tasks.create_task(follow(part))


class _Part:
    """One node's share of a trial while it runs."""

    def __init__(self, agent: Agent, node: NodePlan, run: str, mark: bytes) -> None:
        self._agent = agent
        self._node = node
        self._run = run
        self._mark = mark
        self._ears: dict[str, Ear] = {}
        self._known = Share(node.name)
        self._started = False

    @property
    def share(self) -> Share:
        """What is known of it."""
        words = tuple(word for ear in self._ears.values() for word in ear.words)
        return replace(
            self._known,
            words=tuple(word for word in words if word.rank in self._node.ranks),
            said={path.rpartition("/")[2]: ear.last_lines for path, ear in self._ears.items()},
        )

    async def bring(self, script: str) -> None:
        """Put the script into the trial's folder, which is where it will run."""
        try:
            name = "all_reduce.py"
            answer = await self._agent.ask(
                "put", run=self._run, node=self._node.name, name=name, text=script
            )
            folder = parse_answer(
                self._node.name, "put", lambda answer: text(answer["folder"]), answer
            )
            # torchrun leaves folders of logs in TMPDIR; there they end with the trial.
            environment = {**self._node.environment, "TMPDIR": folder}
            self._node = replace(self._node, workdir=folder, environment=environment)
        except NodeError as error:
            self._fail(f"the script cannot be put there: {error}")

    async def start(self) -> None:
        """Start the launcher, or the ranks."""
        try:
            spec = self._node.spec(self._run, attempt=0)
            answer = await self._agent.ask("start", timeout=_START_TIME, **spec)
            problem = answer["problem"]
        except (NodeError, LookupError, TypeError) as error:
            problem = str(error)
        if problem is None:
            self._started = True
        else:
            self._fail(f"it cannot be started: {problem}")

    async def follow(self, on_failure: Callable[[], None]) -> None:
        """Hear it to its end; `on_failure` is called as soon as it goes wrong."""
        if not self._started:
            on_failure()
            return
        try:
            async for report in self._agent.follow(self._run, {}):
                self._note(report)
                if self._known.failed:
                    on_failure()
        except NodeError as error:
            self._fail(f"it was lost: {error}")
            on_failure()

    def _note(self, report: Report) -> None:
        if isinstance(report, Chunk):
            # Each rank has two streams, and the launcher: of more there is no end.
            if len(self._ears) < 2 * (self._node.devices + 1):
                self._ears.setdefault(report.path, Ear(self._mark))
            if report.path in self._ears:
                self._ears[report.path].hear(report.data)
        elif isinstance(report, StatusReport):
            self._known = replace(self._known, launcher=report.launcher)
            if report.state == "lost":
                self._fail("the process of orch that minds it was killed")
        elif isinstance(report, RankReport) and report.end and report.rank in self._node.ranks:
            ranks = {**self._known.ranks, report.rank: report.end}
            self._known = replace(self._known, ranks=ranks)

    def _fail(self, trouble: str) -> None:
        self._known = replace(self._known, trouble=printable(trouble, 500))

    async def discard(self) -> None:
        """End what is left of it, and remove its folder."""
        try:
            await self._agent.ask(
                "discard", timeout=_DISCARD_TIME, run=self._run, node=self._node.name
            )
        except NodeError as error:
            # With the connection the agent ends, and discards it by itself.
            if self._known.trouble is None:
                self._fail(f"it was lost: {error}")
