"""Handles of a run, for programs: the methods of `Run` block, those of `AsyncRun` are awaited.

Both hold only a name and a folder. Each call reads the current state, so a handle works in any process on
this machine, even after the run has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from orchestrator import events
from orchestrator.api.blocking import call, iterate
from orchestrator.api.diagnose import diagnose_run
from orchestrator.api.failure import failure
from orchestrator.api.fetch import fetch
from orchestrator.api.logs import Ranks, Since, read_lines, seconds_since, selection_of
from orchestrator.api.result import Result, result_of
from orchestrator.api.results import Results, bring_results
from orchestrator.api.status import RunStatus, current_status
from orchestrator.api.stop import stop
from orchestrator.api.values import Size
from orchestrator.api.values import limit as size_limit
from orchestrator.api.watch import watch
from orchestrator.control.results import FetchResult
from orchestrator.diagnose import Diagnosis
from orchestrator.errors import OrchError, SyncError
from orchestrator.logs.log_line import LogLine
from orchestrator.logs.stream import Channel
from orchestrator.remote.grouped_errors import grouped_lines
from orchestrator.runs.saved_run import SavedRun, load_run
from orchestrator.util.frontend import Shown

T = TypeVar("T")
OnEvent = Callable[[events.Event], None]


def ignore(event: events.Event) -> None:
    """Ignore an event."""


class _Handle:
    """What `Run` and `AsyncRun` have in common."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def name(self) -> str:
        """The run's name."""
        return self._folder.name

    @property
    def folder(self) -> Path:
        """The run's folder on this machine, with `logs/NODE/attempt-K/rank-N.out`."""
        return self._folder

    @property
    def result(self) -> Result | None:
        """How the run ended, None until it has. Raises OrchError if the run was removed."""
        saved = self._saved()
        return result_of(saved) if saved.has_ended else None

    def _saved(self) -> SavedRun:
        saved = load_run(self._folder)
        if saved is None:
            raise OrchError(f"run {self.name} was removed", remedy="orch runs lists the runs")
        return saved

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._folder == self._folder

    def __hash__(self) -> int:
        return hash(self._folder)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class AsyncRun(_Handle):
    """A run, for asynchronous code; returned by `alaunch`, `aget_run` and `aruns`.

    The methods are those of `Run`, documented there. Cancelling a call stops the wait, never the run.
    """

    async def wait(
        self, timeout: float | None = None, *, on_event: OnEvent | None = None
    ) -> Result:
        """See `Run.wait`."""
        emit = on_event or ignore
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                async for event in watch(self._saved(), lambda stream: False):
                    emit(event)
        except TimeoutError:
            if not limit.expired():  # raised by a callback
                raise
            raise TimeoutError(f"run {self.name} has not ended within {timeout:g} s") from None
        return result_of(self._saved())

    async def logs(
        self,
        *,
        rank: Ranks | None = None,
        nodes: str | None = None,
        stream: Channel | None = None,
        follow: bool = False,
        tail: int | None = None,
        since: Since | None = None,
        on_event: OnEvent | None = None,
    ) -> AsyncIterator[LogLine]:
        """See `Run.logs`."""
        batches = self._batches(rank, nodes, stream, follow, tail, since, on_event or ignore)
        async for batch in batches:
            for line in batch:
                yield line

    def _batches(
        self,
        rank: Ranks | None,
        nodes: str | None,
        stream: Channel | None,
        follow: bool,
        tail: int | None,
        since: Since | None,
        emit: events.Emit,
    ) -> AsyncIterator[list[LogLine]]:
        saved = self._saved()
        selection = selection_of(saved, rank, nodes, stream)
        start = seconds_since(since)
        return read_lines(saved, selection, emit, follow=follow, tail=tail, since=start)

    async def status(self, *, on_event: OnEvent | None = None) -> RunStatus:
        """See `Run.status`."""
        return await current_status(self._saved(), on_event or ignore)

    async def stop(self, *, grace: float | None = None, on_event: OnEvent | None = None) -> Result:
        """See `Run.stop`."""
        await stop(self._saved(), on_event or ignore, grace=grace)
        return result_of(self._saved())

    async def fetch(
        self,
        *patterns: str,
        to: str | Path | None = None,
        nodes: str | None = None,
        overwrite: bool = False,
        dry_run: bool = False,
        on_event: OnEvent | None = None,
    ) -> tuple[FetchResult, ...]:
        """See `Run.fetch`."""
        results = await fetch(
            self._saved(), patterns, on_event or ignore,
            to=to, nodes=nodes, overwrite=overwrite, dry_run=dry_run,
        )  # fmt: skip
        problems = [result.problem for result in results if result.problem is not None]
        if problems:
            raise SyncError("\n".join(grouped_lines(problems)))
        return tuple(results)

    async def results(
        self,
        timeout: float | None = None,
        *,
        trust: bool = False,
        result_limit: Size | None = None,
        on_event: OnEvent | None = None,
    ) -> Results[Any]:
        """See `Run.results`."""
        limit = self._saved().settings.result_limit
        if result_limit is not None:
            limit = size_limit("result_limit", result_limit, 0)
        result = await self.wait(timeout, on_event=on_event)
        saved = self._saved()
        await bring_results(saved, on_event or ignore, limit)
        results = Results[Any](saved, trust=trust)
        if not result.succeeded:
            raise failure(saved, result, results)
        return results

    async def diagnose(
        self, *, attempt: int | None = None, on_event: OnEvent | None = None
    ) -> Diagnosis:
        """See `Run.diagnose`."""
        return await diagnose_run(self._saved(), attempt, on_event or ignore)


class Run(_Handle, Shown):
    """A run; returned by `launch`, `get_run` and `runs`.

    Every method blocks until it is done, even inside a running event loop, as in a notebook; `AsyncRun`
    has the same methods for asynchronous code. Ctrl-C stops the wait, never the run; use `stop` for
    that. `on_event` is called in the caller's thread with what the command line would print to stderr
    meanwhile (see `orchestrator.events`). Methods raise OrchError if the run was removed, or this
    machine's copy of it cannot be read.
    """

    def wait(self, timeout: float | None = None, *, on_event: OnEvent | None = None) -> Result:
        """Wait until the run has ended, and return how it ended.

        Raises TimeoutError after `timeout` seconds (None: never), LaunchError if the run has no controller
        and none can be started.
        """
        return self._call(lambda run, emit: run.wait(timeout, on_event=emit), on_event)

    def logs(
        self,
        *,
        rank: Ranks | None = None,
        nodes: str | None = None,
        stream: Channel | None = None,
        follow: bool = False,
        tail: int | None = None,
        since: Since | None = None,
        on_event: OnEvent | None = None,
    ) -> Iterator[LogLine]:
        """Yield what the run has printed, line by line, ordered by time.

        `rank` (a number, several, or `"0,4-7"`), `nodes` (`"gpu[0-3]"`) and `stream` ("stdout" or
        "stderr") select output; None: all. `tail` keeps only the last lines, `since` only those from a
        time on (seconds since the epoch, a datetime, or a string as for `--since`: `"10m"`). With
        `follow`, new output is included, and the iterator ends with the run. `on_event` gets warnings
        about what is missing on this machine. Raises UsageError for ranks or nodes that the run does
        not have.
        """
        run = AsyncRun(self._folder)
        return iterate(
            lambda emit: run._batches(rank, nodes, stream, follow, tail, since, emit), on_event
        )

    def status(self, *, on_event: OnEvent | None = None) -> RunStatus:
        """Ask the nodes, and return the state of every node and rank, as `orch status` shows it."""
        return self._call(lambda run, emit: run.status(on_event=emit), on_event)

    def stop(self, *, grace: float | None = None, on_event: OnEvent | None = None) -> Result:
        """Stop the run on all its nodes, and return how it ended.

        Ranks have `grace` seconds between SIGTERM and SIGKILL (None: as launched). Raises LaunchError if
        the run does not end in time.
        """
        return self._call(lambda run, emit: run.stop(grace=grace, on_event=emit), on_event)

    def fetch(
        self,
        *patterns: str,
        to: str | Path | None = None,
        nodes: str | None = None,
        overwrite: bool = False,
        dry_run: bool = False,
        on_event: OnEvent | None = None,
    ) -> tuple[FetchResult, ...]:
        """Copy files that the run has written to this machine, and return what was copied from each node.

        Copies files that match the `patterns` (none: all) from the main node into the folder `to` (None:
        `./NAME`), or from each of the `nodes` into `to/NODE`. A newer local file stays unless `overwrite`.
        A `dry_run` only lists the files. Raises UsageError for an invalid pattern, SyncError if some
        files could not be copied; the others are.
        """
        return self._call(
            lambda run, emit: run.fetch(
                *patterns, to=to, nodes=nodes, overwrite=overwrite, dry_run=dry_run, on_event=emit
            ),
            on_event,
        )

    def results(
        self,
        timeout: float | None = None,
        *,
        trust: bool = False,
        result_limit: Size | None = None,
        on_event: OnEvent | None = None,
    ) -> Results[Any]:
        """Wait until a run that calls a function has ended, and return what its ranks returned.

        If it has failed, raises the exception of the rank that failed first, or RunFailed if that has
        raised none; its `results` are those of the ranks that returned, its `others` the exceptions of
        other ranks. With `trust`, pickled results are unpickled, which runs what the nodes have put there.
        `result_limit` is the maximum size of all results that are still on the nodes (None: as launched, 0:
        no limit). Raises TimeoutError after `timeout` seconds, UsageError if the run ran a script.
        """
        return self._call(
            lambda run, emit: run.results(
                timeout, trust=trust, result_limit=result_limit, on_event=emit
            ),
            on_event,
        )

    def diagnose(self, *, attempt: int | None = None, on_event: OnEvent | None = None) -> Diagnosis:
        """Return why the run failed, from its logs: `verdict` is the most likely cause, if one is known.

        `attempt` selects an attempt (None: the last). Raises UsageError if there was no such attempt.
        """
        return self._call(lambda run, emit: run.diagnose(attempt=attempt, on_event=emit), on_event)

    def _call(
        self,
        work: Callable[[AsyncRun, events.Emit], Coroutine[Any, Any, T]],
        on_event: OnEvent | None,
    ) -> T:
        run = AsyncRun(self._folder)
        return call(lambda emit: work(run, emit), on_event)
