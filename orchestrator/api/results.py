"""What the ranks of a function launch have returned, read from the run's folder when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from orchestrator import events
from orchestrator.calls.raised import Raised
from orchestrator.calls.reader import InvalidValue, ValueFile
from orchestrator.control.function_results import ResultBudget, fetch_results, result_path
from orchestrator.errors import NodeError, OrchError, UsageError
from orchestrator.runs.connections import connections_to
from orchestrator.runs.folder import RESULTS
from orchestrator.runs.saved_run import SavedRun
from orchestrator.util.frontend import Shown

T = TypeVar("T")


class NoResult(OrchError, LookupError):
    """A rank has returned nothing: it failed, was stopped, or left by `sys.exit`."""


class Results(Shown, Generic[T]):
    """What the ranks returned: `results[0]`, `results.rank(5)`, `results.by_node["node1"]`.

    Iteration yields the values in the order of the ranks, without those that returned nothing. A value is
    loaded when it is asked for, and arrays and tensors are mapped from the run's folder: they take memory
    as they are used, and may be changed without changing the file. With `trust`, pickled results are
    unpickled, which runs what the nodes have put there.
    """

    def __init__(self, saved: SavedRun, *, trust: bool = False) -> None:
        self._run = saved.run
        self._folder = saved.folder
        self._trust = trust
        self._node_of = {rank: node.name for node in saved.plan.nodes for rank in node.ranks}
        self._files: dict[int, ValueFile] = {}
        self._values: dict[int, T] = {}

    @property
    def run(self) -> str:
        """The name of the run."""
        return self._run

    @property
    def ranks(self) -> tuple[int, ...]:
        """The ranks that have returned a value."""
        return tuple(rank for rank in self._ranks_with_files() if self._file(rank).kind != "raised")

    def rank(self, rank: int) -> T:
        """Return the value of a rank.

        Raises NoResult if there is none, NodeError if what the node sent is not a result, or cannot be
        loaded here: the file stays in the run's folder.
        """
        if rank not in self._values:
            self._values[rank] = self._load(rank)
        return self._values[rank]

    @property
    def by_node(self) -> Mapping[str, Sequence[T]]:
        """The values of each node, by local rank."""
        grouped: dict[str, list[int]] = {}
        for rank in self.ranks:
            grouped.setdefault(self._node_of.get(rank, ""), []).append(rank)
        return {node: _ValuesOf(self, ranks) for node, ranks in grouped.items()}

    def raised(self) -> dict[int, Raised]:
        """Return what the ranks said that have raised an exception. Raises NodeError as `rank` does."""
        found = {}
        for rank in self._ranks_with_files():
            file = self._file(rank)
            if file.kind == "raised":
                try:
                    found[rank] = Raised.parse(file.load())
                except InvalidValue as error:
                    raise self._invalid(rank, error) from None
        return found

    def node_of(self, rank: int) -> str:
        """Return the name of the node that the rank ran on, empty if that is not known."""
        return self._node_of.get(rank, "")

    def __getitem__(self, rank: int) -> T:
        return self.rank(rank)

    def __iter__(self) -> Iterator[T]:
        return map(self.rank, self.ranks)

    def __len__(self) -> int:
        return len(self.ranks)

    def __repr__(self) -> str:
        return f"Results(run={self._run!r}, ranks={list(self.ranks)})"

    def _ranks_with_files(self) -> Iterator[int]:
        return (rank for rank in sorted(self._node_of) if result_path(self._folder, rank).exists())

    def _file(self, rank: int) -> ValueFile:
        if rank not in self._files:
            try:
                self._files[rank] = ValueFile(result_path(self._folder, rank))
            except FileNotFoundError:
                raise NoResult(
                    f"rank {rank} of run {self._run} has returned nothing",
                    node=self.node_of(rank),
                    remedy=f"orch status {self._run} shows how it ended",
                ) from None
            except (InvalidValue, OSError) as error:
                raise self._invalid(rank, error) from None
        return self._files[rank]

    def _load(self, rank: int) -> Any:
        file = self._file(rank)
        if file.kind == "raised":
            error = self.raised()[rank]
            raise NoResult(
                f"rank {rank} of run {self._run} has raised {error.type_name} and returned nothing",
                node=self.node_of(rank),
                remedy=f"orch logs {self._run} --rank {rank} shows its output",
            )
        if file.kind == "pickled" and not self._trust:
            raise OrchError(
                f"the result of rank {rank} is pickled; unpickling runs what the node has put there",
                node=self.node_of(rank),
                remedy=f"if you trust the nodes: orch.get_run({self._run!r}).results(trust=True)",
            )
        try:
            return file.unpickle() if file.kind == "pickled" else file.load()
        except InvalidValue as error:
            raise self._invalid(rank, error) from None

    def _invalid(self, rank: int, error: Exception) -> NodeError:
        return NodeError(
            self.node_of(rank),
            f"the result of rank {rank} cannot be loaded: {error}",
            remedy=f"the file is {result_path(self._folder, rank)}",
        )


class _ValuesOf(Sequence[T]):
    """The values of some ranks, loaded when they are asked for."""

    def __init__(self, results: Results[T], ranks: Sequence[int]) -> None:
        self._results = results
        self._ranks = ranks

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return _ValuesOf(self._results, self._ranks[index])
        return self._results.rank(self._ranks[index])

    def __len__(self) -> int:
        return len(self._ranks)

    def __repr__(self) -> str:
        return f"[values of ranks {', '.join(map(str, self._ranks))}]"


async def bring_results(saved: SavedRun, emit: events.Emit, limit: int | None) -> None:
    """Copy the results that are missing here from the nodes, if the run's controller could not do that.

    Raises UsageError if the ranks did not call a function. Problems cause warnings.
    """
    if not saved.settings.function:
        raise UsageError(
            f"run {saved.run} has no results: it ran a script, not a function",
            remedy="its files: Run.fetch(); its output: Run.logs()",
        )
    if not _are_missing(saved.folder, saved):
        return
    async with connections_to(saved) as (connections, _):
        budget = ResultBudget(limit)
        pairs = list(zip(saved.plan.nodes, connections, strict=False))  # without former nodes
        for problem in await fetch_results(saved.folder, saved.plan, pairs, budget, emit):
            emit(events.Warned(f"not all results are here: {problem}"))


def _are_missing(folder: Path, saved: SavedRun) -> bool:
    if not (folder / RESULTS).is_dir():  # its controller died before it copied them
        return True
    return saved.exit_code == 0 and any(
        not result_path(folder, rank).exists() for rank in saved.plan.expected_ranks
    )
