"""The exception that a failed function launch raises: that of the rank which failed first."""

from __future__ import annotations

from typing import Any

from orchestrator.api.result import Result, RunFailed
from orchestrator.api.results import Results
from orchestrator.calls.raised import Raised
from orchestrator.runs.saved_run import SavedRun


class RemoteError(RunFailed):
    """The function raised an exception on a rank whose class this process does not have.

    `type_name` is its full name, `said` its text, `traceback` that of the rank.
    """

    def __init__(self, result: Result, raised: Raised, rank: int, node: str) -> None:
        super().__init__(result)
        self.type_name = raised.type_name
        self.said = raised.text
        self.traceback = raised.cause.text
        self.text = f"rank {rank} on {node} raised {self.type_name}: {raised.shown}"


def failure(saved: SavedRun, result: Result, results: Results[Any]) -> Exception:
    """Return the exception to raise for a run that has failed.

    If the rank that failed first has raised one, that, with the rank's traceback as its cause; else
    RunFailed. Its `results` are those of the ranks that returned, its `others` the exceptions of other
    ranks, by rank.
    """
    raised = results.raised()
    root = _root(saved, raised)
    errors = {
        rank: _rebuilt(result, said, rank, results.node_of(rank)) for rank, said in raised.items()
    }
    error: Any = RunFailed(result) if root is None else errors.pop(root)
    if root is not None:
        error.add_note(
            f"raised by rank {root} on {results.node_of(root)} in run {result.run}; its output: "
            f"orch logs {result.run} --rank {root}"
        )
    error.others = errors
    error.results = results
    failed: Exception = error
    return failed


def _root(saved: SavedRun, raised: dict[int, Raised]) -> int | None:
    """Return the rank that failed first, if that has raised an exception."""
    if saved.stop is not None and saved.verdict is None:
        return None
    if saved.verdict is None:
        return min(raised, default=None)
    return saved.verdict.rank if saved.verdict.rank in raised else None


def _rebuilt(result: Result, raised: Raised, rank: int, node: str) -> Exception:
    error = raised.rebuild() or RemoteError(result, raised, rank, node)
    error.__cause__ = raised.cause
    return error
