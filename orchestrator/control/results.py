"""Bring what a run has written in its working folder on a node here, over the way to that node."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import events
from orchestrator.control.interrupts import Interrupts
from orchestrator.control.run import Detached
from orchestrator.errors import NodeError, OrchError, SyncError
from orchestrator.plan import NodePlan
from orchestrator.remote.agent import Agent
from orchestrator.remote.answers import count, flag, parse_answer, text
from orchestrator.remote.connection import NodeConnection
from orchestrator.runs.options import Settings
from orchestrator.runs.record import Record
from orchestrator.sync import Progress
from orchestrator.sync.landing import Landing, SkippedFile, select_files
from orchestrator.sync.patterns import Patterns
from orchestrator.sync.receive import receive
from orchestrator.sync.remote_files import RemoteFile, remote_file
from orchestrator.util.quoting import line_to_paste
from orchestrator.util.text import printable

MOST_FILES = 200_000
"""Files of one node."""

_LOOKING = 120.0  # seconds that a node has to look through its working folder
_SOON = 3.0  # seconds that it has for their number, when a person waits for the end of the run
_MARGIN = 1.0  # seconds beyond its time for an answer to come


@dataclass(frozen=True)
class RunWorkdir:
    """Where a run works on a node, and since when: `since` is by the node's clock, where it is not told."""

    run: str
    node: NodePlan
    since: float

    @classmethod
    def of(cls, run: str, node: NodePlan, began: float, settings: Settings) -> RunWorkdir:
        """Return it for a run that `began` by this machine's clock."""
        return cls(run, node, began + settings.skews.get(node.name, 0.0))

    async def ask(self, agent: Agent, verb: str, limit: float, **more: Any) -> Any:
        """Return what the node says about the folder within `limit` seconds. Raises NodeError."""
        return await agent.ask(
            verb,
            timeout=limit + _MARGIN,
            limit=limit,
            run=self.run,
            node=self.node.name,
            workdir=self.node.workdir,
            since=self.since,
            **more,
        )


@dataclass(frozen=True)
class FetchOptions:
    """Which of the files are meant, and whether those that are newer here are overwritten."""

    patterns: tuple[str, ...] = ()
    overwrite: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class FetchResult:
    """What came of one node: `files` were fetched into `folder` (or would be), `same` are there already,
    `left` were not fetched. `seconds` is what the transfer took, `problem` why not all is there.
    """

    node: str
    folder: Path
    files: tuple[RemoteFile, ...] = ()
    same: int = 0
    left: tuple[SkippedFile, ...] = ()
    seconds: float = 0.0
    problem: OrchError | None = None

    @property
    def size(self) -> int:
        """The bytes of the files."""
        return sum(file.size for file in self.files)

    @property
    def event(self) -> events.Fetched:
        """What is told of it."""
        left = tuple(f"{printable(os.fsencode(each.path))}: {each.why}" for each in self.left)
        return events.Fetched(
            self.node,
            self.folder,
            len(self.files),
            self.size,
            self.same,
            left,
            self.seconds,
            newer=sum(each.is_newer for each in self.left),
        )


async def fetch_from(
    connection: NodeConnection,
    work: RunWorkdir,
    folder: Path,
    wanted: FetchOptions,
    emit: events.Emit,
) -> FetchResult:
    """Bring what is `wanted` of the run's files on one node into `folder`.

    Nothing that stands there is lost: what is newer stays unless it is to be overwritten, and a folder
    always does. What goes wrong on the way is the result's `problem`.
    """
    try:
        if not connection.is_up:
            await connection.connect()
        listed = await _list(connection.agent, work, Patterns(wanted.patterns))
        found = await asyncio.to_thread(select_files, listed, folder, overwrite=wanted.overwrite)
        if wanted.dry_run or not found.wanted:
            return FetchResult(work.node.name, folder, found.wanted, found.same, found.skipped)
        began = time.monotonic()
        landed, late, problem = await _bring(connection, work, folder, found.wanted, wanted, emit)
        return FetchResult(
            work.node.name,
            folder,
            tuple(landed),
            found.same,
            (*found.skipped, *late),
            time.monotonic() - began,
            problem,
        )
    except OrchError as error:
        return FetchResult(work.node.name, folder, problem=error)


async def _bring(
    connection: NodeConnection,
    work: RunWorkdir,
    folder: Path,
    files: tuple[RemoteFile, ...],
    wanted: FetchOptions,
    emit: events.Emit,
) -> tuple[list[RemoteFile], list[SkippedFile], SyncError | None]:
    def tell(progress: Progress) -> None:
        emit(events.FetchAdvanced(progress.node, progress.sent, progress.total))

    problem = None
    regular = [file for file in files if file.kind == "file"]
    with Landing(folder) as landing:
        try:
            if regular:
                source = work.node.workdir
                await receive(
                    connection.agent.node, source, regular, landing.arrived, on_progress=tell
                )
        except SyncError as error:
            problem = error
        landed, left = await asyncio.to_thread(
            landing.land,
            files,
            overwrite=wanted.overwrite,
            only_as_listed=problem is not None,
        )
        if problem is None and not wanted.patterns:
            landing.forget()
    return landed, left, problem


async def _list(agent: Agent, work: RunWorkdir, patterns: Patterns) -> list[RemoteFile]:
    """Return the files that the node names and the patterns mean. Raises NodeError."""
    node = work.node.name
    found: list[RemoteFile] = []
    after: str | None = None
    seen = 0
    is_cut = True
    while is_cut:
        answer = await work.ask(agent, "changed", _LOOKING, after=after)
        part, is_cut = parse_answer(node, "changed", _part, answer)
        seen += len(part)
        if seen > MOST_FILES or (is_cut and not part):
            raise NodeError(
                node,
                f"the run has written more than {MOST_FILES:,} files in {work.node.workdir}",
                remedy=f"make an archive of them there: orch ssh {node}",
            )
        found += [file for file in part if patterns.match(file.path)]
        after = part[-1].path if part else None
    return found


def _part(answer: Any) -> tuple[list[RemoteFile], bool]:
    return [remote_file(entry) for entry in answer["files"]], flag(answer["cut"])


async def files_written(agent: Agent, work: RunWorkdir, limit: float) -> events.FilesWritten | None:
    """Return how much the run has written in its working folder, None where that is nothing.

    Raises NodeError, also when the node cannot say so within `limit` seconds.
    """
    answer = await work.ask(agent, "written", limit)

    def written(said: Any) -> events.FilesWritten:
        folder = printable(text(said["folder"]))
        return events.FilesWritten(
            work.run, work.node.name, folder, count(said["files"]), count(said["bytes"])
        )

    told = parse_answer(work.node.name, "written", written, answer)
    return told if told.files else None


async def fetch_at_end(
    record: Record, connection: NodeConnection, interrupts: Interrupts, tell: events.Emit
) -> None:
    """Bring here what the launch asked for of main, at the other end of `line`; an attempt has ended.

    What goes wrong is a warning, and so is that a person interrupts it. Raises Detached when somebody
    else is to do it.
    """
    settings, plan = record.settings, record.plan
    if not settings.fetch or settings.fetch_to is None:
        return
    work = RunWorkdir.of(plan.run, plan.nodes[0], record.began, settings)
    folder = settings.fetch_to / plan.run
    fetching = asyncio.create_task(
        fetch_from(connection, work, folder, FetchOptions(settings.fetch), tell)
    )
    stopping = asyncio.create_task(interrupts.wait(interrupts.count + 1))
    leaving = asyncio.create_task(interrupts.wait_for_detach())
    tasks = (fetching, stopping, leaving)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if not fetching.cancelled():
        error = fetching.exception()  # a bug must not cost the run its verdict
        problem = str(error or fetching.result().problem or "")
        if error is None:
            tell(fetching.result().event)
        if not problem:
            return
    elif not leaving.cancelled():
        raise Detached(leaving.result())
    else:
        problem = "interrupted"
    again = line_to_paste(["orch", "fetch", plan.run, *settings.fetch, "--to", str(folder)])
    tell(events.Warned(f"the run's files are not all here: {problem}\n  → {again}"))


async def tell_of_files(record: Record, connection: NodeConnection, tell: events.Emit) -> None:
    """Tell how much the run has written where main works, if `line` leads there and it says so soon."""
    if not connection.is_up:
        return
    work = RunWorkdir.of(record.plan.run, record.plan.nodes[0], record.began, record.settings)
    with suppress(NodeError):  # it is away, or has too many: then nothing is said
        written = await files_written(connection.agent, work, _SOON)
        if written is not None:
            tell(written)
