"""A run as a program has it in hand: `Run`, whose methods block, and `AsyncRun`, whose methods are awaited.

Both are a name and a folder, nothing else: each call looks at what there is now, so a handle works in
another process than the one that launched the run, and after that has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from orchestrator import events
from orchestrator.api.blocking import call, iterate
from orchestrator.api.diagnose import diagnose_run
from orchestrator.api.fetch import fetch
from orchestrator.api.logs import Ranks, moment_of, read_lines, selection_of
from orchestrator.api.refresh import refresh
from orchestrator.api.selection import nodes_of
from orchestrator.api.status import RankStatus, RunStatus, status_of
from orchestrator.api.stop import stop
from orchestrator.api.watch import watch
from orchestrator.control.results import FetchOptions, FetchResult
from orchestrator.diagnose import Diagnosis
from orchestrator.errors import OrchError, SyncError
from orchestrator.logs.log_line import LogLine
from orchestrator.logs.stream import Channel
from orchestrator.remote.grouped_errors import grouped_lines
from orchestrator.runs.outcome import Outcome
from orchestrator.runs.registry import unless_pruned
from orchestrator.runs.saved_run import SavedRun, load_run

T = TypeVar("T")
OnEvent = Callable[[events.Event], None]


def ignore(event: events.Event) -> None:
    """Hear an event, and do nothing."""


class RunFailed(OrchError):
    """A run has not succeeded; `result` says how it ended, `exit_code` is the run's own.

    `cause` is why, as far as that is known, and `remedy` what to do about it.
    """

    def __init__(self, result: Result) -> None:
        why = result.verdict
        self.result = result
        self.cause = "" if why is None else "; ".join(filter(None, (why.meaning, why.cause)))
        because = f"\n  cause: {self.cause}" if self.cause else ""
        super().__init__(
            f"run {result.run}: {result.summary}{because}",
            remedy=(why.fix if why is not None else "") or f"orch diagnose {result.run}",
        )
        self.exit_code = result.exit_code


@dataclass(frozen=True)
class Result:
    """How a run ended: `outcome` in a word (succeeded, failed, stopped, lost), `summary` in a line.

    `seconds` is how long it took, `verdict` why it failed, if it did and that is known. `ranks` has the
    last state of each rank, by its number. `exit_code` is what `orch launch` exits with.
    """

    run: str
    exit_code: int
    outcome: Outcome
    summary: str
    seconds: float
    verdict: events.Explained | None = None
    ranks: Mapping[int, RankStatus] = field(default_factory=dict, repr=False)

    @property
    def succeeded(self) -> bool:
        """Whether all ranks have ended well."""
        return self.exit_code == 0

    def raise_for_status(self) -> Result:
        """Return this result of a run that has succeeded; raises RunFailed for any other."""
        if not self.succeeded:
            raise RunFailed(self)
        return self


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
        """Where the run is kept on this machine; `logs/NODE/attempt-K/rank-N.out` is below."""
        return self._folder

    @property
    def result(self) -> Result | None:
        """How the run ended, None until it has. Raises OrchError when the run was removed."""
        saved = self._saved()
        return _result_of(saved) if saved.has_ended else None

    def _saved(self) -> SavedRun:
        saved = load_run(self._folder)
        if saved is None:
            raise OrchError(
                f"run {self.name} was removed", remedy="orch runs shows those that there are"
            )
        return saved

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._folder == self._folder

    def __hash__(self) -> int:
        return hash(self._folder)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class AsyncRun(_Handle):
    """A run, for asynchronous code: from `alaunch`, `aget_run` and `aruns`.

    Every method has a twin of the same name in `Run`, which says what it does. Cancelling a call ends the
    waiting, never the run.
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
            if not limit.expired():  # a callback's own
                raise
            raise TimeoutError(f"run {self.name} has not ended within {timeout:g} s") from None
        return _result_of(self._saved())

    async def logs(
        self,
        *,
        rank: Ranks | None = None,
        nodes: str | None = None,
        stream: Channel | None = None,
        follow: bool = False,
        tail: int | None = None,
        since: str | float | datetime | None = None,
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
        since: str | float | datetime | None,
        emit: events.Emit,
    ) -> AsyncIterator[list[LogLine]]:
        saved = self._saved()
        selection = selection_of(saved, rank, nodes, stream)
        moment = moment_of(since)
        return read_lines(saved, selection, emit, follow=follow, tail=tail, since=moment)

    async def status(self, *, on_event: OnEvent | None = None) -> RunStatus:
        """See `Run.status`."""
        saved = self._saved()
        if not saved.has_ended:  # else there is no news but logs that may be missing
            saved = await refresh(saved, on_event or ignore)
        with unless_pruned(saved):
            return status_of(saved)

    async def stop(self, *, grace: float | None = None, on_event: OnEvent | None = None) -> Result:
        """See `Run.stop`."""
        await stop(self._saved(), on_event or ignore, grace=grace)
        return _result_of(self._saved())

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
        saved = self._saved()
        wanted = FetchOptions(patterns, overwrite, dry_run)
        named = nodes_of(saved.plan, nodes, saved.former)
        results = await fetch(
            saved, _absolute(to or saved.run), wanted, on_event or ignore, nodes=named
        )
        problems = [result.problem for result in results if result.problem is not None]
        if problems:
            raise SyncError("\n".join(grouped_lines(problems)))
        return tuple(results)

    async def diagnose(
        self, *, attempt: int | None = None, on_event: OnEvent | None = None
    ) -> Diagnosis:
        """See `Run.diagnose`."""
        return await diagnose_run(self._saved(), attempt, on_event or ignore)


class Run(_Handle):
    """A run: from `launch`, `get_run` and `runs`.

    Every method blocks until it is done, also where an event loop runs already, as in a notebook;
    `AsyncRun` has the same methods for asynchronous code. Ctrl-C ends the waiting and never the run:
    `stop` does that. `on_event` is called in the caller's thread with what the command line would say on
    stderr meanwhile (see `orchestrator.events`). Methods raise OrchError when the run was removed, or
    this machine's copy of it cannot be read.
    """

    def wait(self, timeout: float | None = None, *, on_event: OnEvent | None = None) -> Result:
        """Return how the run ended, once it has.

        Raises TimeoutError after `timeout` seconds (None: never), LaunchError when nobody controls the run
        any more and no controller can be started.
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
        since: str | float | datetime | None = None,
        on_event: OnEvent | None = None,
    ) -> Iterator[LogLine]:
        """Yield what the run has printed, a line at a time, in the order of time.

        Of `rank` (a number, several, or `"0,4-7"`), of `nodes` (`"gpu[0-3]"`), of one `stream` ("stdout",
        "stderr"); None: of all. `tail` leaves the last lines only, `since` those from a moment on
        (seconds since the epoch, a datetime, or as `--since` takes it: `"10m"`). With `follow` what the
        run prints from now on comes too, and the iterator ends when the run does. What is missing on this
        machine is told to `on_event`. Raises UsageError for ranks or nodes that the run does not have.
        """
        run = AsyncRun(self._folder)
        return iterate(
            lambda emit: run._batches(rank, nodes, stream, follow, tail, since, emit), on_event
        )

    def status(self, *, on_event: OnEvent | None = None) -> RunStatus:
        """Return what every node and rank does, as `orch status` shows it; the nodes are asked first."""
        return self._call(lambda run, emit: run.status(on_event=emit), on_event)

    def stop(self, *, grace: float | None = None, on_event: OnEvent | None = None) -> Result:
        """Stop the run on all its nodes, and return how it ended.

        Ranks have `grace` seconds between SIGTERM and SIGKILL (None: as the run was launched). Raises
        LaunchError when its end is not seen in time.
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
        """Bring the files that the run has written to this machine, and return what came of each node.

        Those that match the `patterns` (none: all), of main into the folder `to` (None: `./NAME`), or of
        each of the `nodes` into `to/NODE`. A file here that is newer stays unless it is to be overwritten.
        A `dry_run` only lists them. Raises UsageError for a pattern that means nothing, SyncError when not
        all could be fetched; the other files are.
        """
        return self._call(
            lambda run, emit: run.fetch(
                *patterns, to=to, nodes=nodes, overwrite=overwrite, dry_run=dry_run, on_event=emit
            ),
            on_event,
        )

    def diagnose(self, *, attempt: int | None = None, on_event: OnEvent | None = None) -> Diagnosis:
        """Return what the run's logs tell of why it failed: `verdict` is the likeliest cause, if any is
        known.

        Of its last attempt, unless `attempt` names another. Raises UsageError for one that was not made.
        """
        return self._call(lambda run, emit: run.diagnose(attempt=attempt, on_event=emit), on_event)

    def _call(
        self,
        work: Callable[[AsyncRun, events.Emit], Coroutine[Any, Any, T]],
        on_event: OnEvent | None,
    ) -> T:
        run = AsyncRun(self._folder)
        return call(lambda emit: work(run, emit), on_event)


def _absolute(path: str | Path) -> Path:
    return Path(path).absolute()


def _result_of(saved: SavedRun) -> Result:
    """Return how a run ended that has."""
    with unless_pruned(saved):
        ranks = [rank for node in status_of(saved).nodes for rank in node.ranks]
    return Result(
        run=saved.run,
        exit_code=1 if saved.exit_code is None else saved.exit_code,
        outcome=saved.outcome or "failed",
        summary=saved.summary,
        seconds=(saved.ended or saved.began) - saved.began,
        verdict=saved.verdict,
        ranks={rank.rank: rank for rank in ranks},
    )
