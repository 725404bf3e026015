"""Fetch the files that a run has written in its working folder on a node."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import events
from orchestrator.control.interrupts import Interrupts, first_done
from orchestrator.control.run import Detached
from orchestrator.errors import NodeError, OrchError, SyncError
from orchestrator.plan import NodePlan
from orchestrator.remote.agent import Agent
from orchestrator.remote.connection import NodeConnection
from orchestrator.runs.options import Settings
from orchestrator.runs.record import Record
from orchestrator.sync import Progress
from orchestrator.sync.landing import Landing, SkippedFile, select_files
from orchestrator.sync.patterns import Patterns
from orchestrator.sync.receive import receive
from orchestrator.sync.remote_files import RemoteFile, remote_file
from orchestrator.util.answers import count, flag, parse_answer, text
from orchestrator.util.quoting import line_to_paste
from orchestrator.util.text import printable

MAX_FILES = 200_000
"""Files of one node."""

_LIST_TIMEOUT = 120.0  # seconds a node has to list the files in its working folder
_COUNT_TIMEOUT = 3.0  # seconds to count them while the user waits for the run to end
_ANSWER_MARGIN = 1.0  # seconds after that for the answer to arrive


@dataclass(frozen=True)
class RunWorkdir:
    """The working folder of a run on a node; the run began at `since` by the node's clock."""

    run: str
    node: NodePlan
    since: float

    @classmethod
    def of(cls, run: str, node: NodePlan, began: float, settings: Settings) -> RunWorkdir:
        """Return the folder of a run that `began` by this machine's clock."""
        return cls(run, node, began + settings.skews.get(node.name, 0.0))

    async def ask(self, agent: Agent, verb: str, limit: float, **more: Any) -> Any:
        """Return the node's answer about the folder, within `limit` seconds. Raises NodeError."""
        return await agent.ask(
            verb,
            timeout=limit + _ANSWER_MARGIN,
            limit=limit,
            run=self.run,
            node=self.node.name,
            workdir=self.node.workdir,
            since=self.since,
            **more,
        )


@dataclass(frozen=True)
class FetchOptions:
    """Which files to fetch (none: all), and whether to overwrite files that are newer here."""

    patterns: tuple[str, ...] = ()
    overwrite: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class FetchResult:
    """What was fetched from one node: `files` into `folder` (or would be, in a dry run).

    `same` files were already present, `left` were not fetched. The transfer took `seconds`; `problem` is
    why it is not complete.
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
        """The size of the files in bytes."""
        return sum(file.size for file in self.files)

    @property
    def event(self) -> events.Fetched:
        """The event that reports it."""
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
    """Fetch the `wanted` files of the run from one node into `folder`.

    Newer local files are kept unless `wanted.overwrite`, local folders always. Errors go into the
    result's `problem`.
    """
    try:
        if not connection.is_up:
            await connection.connect()
        listed = await _list(connection.agent, work, Patterns(wanted.patterns))
        found = await asyncio.to_thread(select_files, listed, folder, overwrite=wanted.overwrite)
        if wanted.dry_run or not found.wanted:
            return FetchResult(work.node.name, folder, found.wanted, found.same, found.skipped)
        began = time.monotonic()
        landed, late, problem = await _transfer(
            connection, work, folder, found.wanted, wanted, emit
        )
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


async def _transfer(
    connection: NodeConnection,
    work: RunWorkdir,
    folder: Path,
    files: tuple[RemoteFile, ...],
    wanted: FetchOptions,
    emit: events.Emit,
) -> tuple[list[RemoteFile], list[SkippedFile], SyncError | None]:
    def on_progress(progress: Progress) -> None:
        emit(events.FetchAdvanced(progress.node, progress.sent, progress.total))

    problem = None
    regular = [file for file in files if file.kind == "file"]
    with Landing(folder) as landing:
        try:
            if regular:
                source = work.node.workdir
                await receive(
                    connection.agent.node, source, regular, landing.arrived, on_progress=on_progress
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
    """Return the files of the run on a node that match the patterns. Raises NodeError."""
    node = work.node.name
    found: list[RemoteFile] = []
    after: str | None = None
    seen = 0
    is_cut = True
    while is_cut:
        answer = await work.ask(agent, "changed", _LIST_TIMEOUT, after=after)
        part, is_cut = parse_answer(node, "changed", _part, answer)
        seen += len(part)
        if seen > MAX_FILES or (is_cut and not part):
            raise NodeError(
                node,
                f"the run has written more than {MAX_FILES:,} files in {work.node.workdir}",
                remedy=f"make an archive of them there: orch ssh {node}",
            )
        found += [file for file in part if patterns.match(file.path)]
        after = part[-1].path if part else None
    return found


def _part(answer: Any) -> tuple[list[RemoteFile], bool]:
    return [remote_file(entry) for entry in answer["files"]], flag(answer["cut"])


async def files_written(agent: Agent, work: RunWorkdir, limit: float) -> events.FilesWritten | None:
    """Return how much the run has written in its working folder, None if nothing.

    Raises NodeError, also if the node cannot count the files within `limit` seconds.
    """

    def written(answer: Any) -> events.FilesWritten:
        folder = printable(text(answer["folder"]))
        return events.FilesWritten(
            work.run, work.node.name, folder, count(answer["files"]), count(answer["bytes"])
        )

    answer = await work.ask(agent, "written", limit)
    found = parse_answer(work.node.name, "written", written, answer)
    return found if found.files else None


async def report_files(record: Record, connection: NodeConnection, emit: events.Emit) -> None:
    """Report what the run has written in its working folder on the main node, if it can be counted soon."""
    work = RunWorkdir.of(record.plan.run, record.plan.nodes[0], record.began, record.settings)
    with suppress(NodeError):  # not connected, or too many files
        written = await files_written(connection.agent, work, _COUNT_TIMEOUT)
        if written is not None:
            emit(written)


async def fetch_at_end(
    record: Record, connection: NodeConnection, interrupts: Interrupts, emit: events.Emit
) -> None:
    """Fetch the files that the launch requested from the main node, after an attempt has ended.

    Problems and interrupts only cause a warning. Raises Detached if another controller must do it.
    """
    settings, plan = record.settings, record.plan
    if not settings.fetch or settings.fetch_to is None:
        return
    work = RunWorkdir.of(plan.run, plan.nodes[0], record.began, settings)
    folder = settings.fetch_to / plan.run
    fetching, detaching, _ = await first_done(
        fetch_from(connection, work, folder, FetchOptions(settings.fetch), emit),
        interrupts.wait_for_detach(),
        interrupts.wait(interrupts.count + 1),
    )
    problem = "interrupted"
    if fetching is not None:
        error = fetching.exception()  # a bug must not prevent the verdict
        problem = str(error or fetching.result().problem or "")
        if error is None:
            emit(fetching.result().event)
        if not problem:
            return
    elif detaching is not None:
        raise Detached(detaching.result())
    again = line_to_paste(["orch", "fetch", plan.run, *settings.fetch, "--to", str(folder)])
    emit(events.Warned(f"the run's files are not all here: {problem}\n  → {again}"))
