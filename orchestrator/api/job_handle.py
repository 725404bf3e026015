"""The handle of a function launch that was submitted."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

from orchestrator.api.logs import Ranks, Since
from orchestrator.api.result import Result
from orchestrator.api.results import Results
from orchestrator.api.run import AsyncRun, OnEvent, Run
from orchestrator.api.status import RunStatus
from orchestrator.logs.log_line import LogLine
from orchestrator.logs.stream import Channel
from orchestrator.util.frontend import Shown

T = TypeVar("T")


class Job(Shown, Generic[T]):
    """A call of a function on every rank; returned by `submit`.

    `await job` gives its results in any event loop, as `result()` does where there is none. It is a run
    like any other: `run` has the rest, and the commands of `orch` take its `name`.
    """

    def __init__(self, run: Run, *, trust: bool = False) -> None:
        self.run = run
        self._trust = trust

    @property
    def name(self) -> str:
        """The name of its run."""
        return self.run.name

    @property
    def folder(self) -> Path:
        """The folder of its run on this machine."""
        return self.run.folder

    def done(self) -> bool:
        """Tell whether it has ended, however it did."""
        return self.run.result is not None

    def result(
        self, timeout: float | None = None, *, on_event: OnEvent | None = None
    ) -> Results[T]:
        """Wait for its end and return what the ranks returned; see `Run.results` for what it raises."""
        return self.run.results(timeout, trust=self._trust, on_event=on_event)

    def exception(self, timeout: float | None = None) -> Exception | None:
        """Wait for its end and return what `result` would raise, None if it returns.

        Raises TimeoutError after `timeout` seconds.
        """
        self.run.wait(timeout)
        try:
            self.result()
        except Exception as error:
            return error
        return None

    def logs(
        self,
        *,
        rank: Ranks | None = None,
        nodes: str | None = None,
        stream: Channel | None = None,
        follow: bool = False,
        tail: int | None = None,
        since: Since | None = None,
    ) -> Iterator[LogLine]:
        """Yield what the ranks have printed, line by line; see `Run.logs`."""
        return self.run.logs(
            rank=rank, nodes=nodes, stream=stream, follow=follow, tail=tail, since=since
        )

    def status(self) -> RunStatus:
        """Return the state of every node and rank; see `Run.status`."""
        return self.run.status()

    def stop(self, *, grace: float | None = None) -> Result:
        """Stop it on all its nodes, and return how it ended; see `Run.stop`."""
        return self.run.stop(grace=grace)

    def __await__(self) -> Generator[Any, None, Results[T]]:
        return AsyncRun(self.folder).results(trust=self._trust).__await__()

    def __repr__(self) -> str:
        return f"Job({self.name!r})"
