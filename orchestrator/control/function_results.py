"""Copy what the ranks of a run have returned or raised to this machine, when the run has ended.

Each rank's is a file `results/rank-N.result` in the run's folder. Its content is not looked at here: see
`calls/reader.py`.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import events
from orchestrator.control.follower import Follower
from orchestrator.control.interrupts import Interrupts, first_done
from orchestrator.control.run import Detached
from orchestrator.errors import NodeError, OrchError
from orchestrator.plan import NodePlan, Plan
from orchestrator.remote.agent import Agent
from orchestrator.remote.connection import NodeConnection
from orchestrator.runs.folder import RESULTS
from orchestrator.runs.record import Record
from orchestrator.util.answers import count, parse_answer
from orchestrator.util.text import format_size

_PIECE = 1 << 20  # bytes, less than a line of the agent's may have
_LIST_TIMEOUT = 60.0  # seconds
_PIECE_TIMEOUT = 60.0
_MAX_NODES_AT_ONCE = 8
_AHEAD = 4  # pieces that are asked for before the first has arrived


@dataclass
class ResultBudget:
    """How many more bytes of results may be copied (None: any)."""

    left: int | None

    def take(self, node: str, rank: int, size: int) -> None:
        """Count a result. Raises NodeError if it is too large."""
        if self.left is None:
            return
        if size > self.left:
            raise NodeError(
                node,
                f"the result of rank {rank} has {format_size(size)}, more than result_limit allows "
                f"({format_size(self.left)} are left); it stays on the node",
                remedy="have the function write it to a file, and fetch that; or raise result_limit",
            )
        self.left -= size


def result_path(folder: Path, rank: int) -> Path:
    """Return where the result of a rank is, in the `folder` of its run."""
    return folder / RESULTS / f"rank-{rank}.result"


async def fetch_results_at_end(
    record: Record, nodes: Sequence[Follower], interrupts: Interrupts, emit: events.Emit
) -> None:
    """Copy the results from all nodes, after the last attempt has ended.

    Problems and interrupts only cause a warning. Raises Detached if another controller must do it.
    """
    if not record.settings.function:
        return
    connections = [(node.plan, node.connection) for node in nodes if node.connection.is_up]
    work = fetch_results(
        record.folder, record.plan, connections, ResultBudget(record.settings.result_limit), emit
    )
    fetching, detaching, _ = await first_done(
        work, interrupts.wait_for_detach(), interrupts.wait(interrupts.count + 1)
    )
    if fetching is None and detaching is not None:
        raise Detached(detaching.result())
    problems = ["interrupted"] if fetching is None else _messages(fetching)
    for problem in problems:
        emit(events.Warned(f"not all results are here: {problem}"))


def _messages(fetching: asyncio.Future[list[OrchError]]) -> list[str]:
    error = fetching.exception()  # a bug must not prevent the verdict
    return [repr(error)] if error is not None else list(map(str, fetching.result()))


async def fetch_results(
    folder: Path,
    plan: Plan,
    connections: Sequence[tuple[NodePlan, NodeConnection]],
    budget: ResultBudget,
    emit: events.Emit,
) -> list[OrchError]:
    """Copy the results that are not in the run's `folder` yet from the nodes, and return the problems.

    `connections` are those to nodes of the `plan`; they are connected if they are not.
    """
    try:
        (folder / RESULTS).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        return [OrchError(f"{folder / RESULTS}: {error.strerror}", remedy="free disk space there")]
    gate = asyncio.Semaphore(_MAX_NODES_AT_ONCE)

    async def fetch(node: NodePlan, connection: NodeConnection) -> OrchError | None:
        expected = plan.expected_ranks if plan.elastic is not None else frozenset(node.ranks)
        try:
            async with gate:
                if not connection.is_up:
                    await connection.connect()
                await _fetch_node(folder, plan.run, node, connection.agent, expected, budget, emit)
        except OrchError as error:
            return error
        except OSError as error:
            return OrchError(
                f"results cannot be stored in {folder / RESULTS}: {error.strerror}",
                remedy="free disk space there",
            )
        return None

    problems = await asyncio.gather(*(fetch(*pair) for pair in connections))
    return [problem for problem in problems if problem is not None]


async def _fetch_node(
    folder: Path,
    run: str,
    node: NodePlan,
    agent: Agent,
    expected: frozenset[int],
    budget: ResultBudget,
    emit: events.Emit,
) -> None:
    """Copy the results of one node. Raises NodeError, and OSError."""
    answer = await agent.ask("list_results", timeout=_LIST_TIMEOUT, run=run, node=node.name)
    found = parse_answer(node.name, "list_results", _listed, answer)
    total = sum(result.size for result in found)
    received = 0
    for result in found:
        path = result_path(folder, result.rank)
        if result.rank not in expected or path.exists():
            received += result.size
            continue
        budget.take(node.name, result.rank, result.size)
        temporary = path.with_suffix(".part")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
                if result.data is not None:
                    file.write(result.data)
                    received += result.size
                else:
                    async for piece in _pieces(agent, run, node.name, result):
                        await asyncio.to_thread(file.write, piece)
                        received += len(piece)
                        emit(events.FetchAdvanced(node.name, received, total))
            temporary.rename(path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Listed:
    rank: int
    size: int
    data: bytes | None


def _listed(answer: Any) -> list[_Listed]:
    results = []
    for rank, size, data in answer:
        content = None if data is None else base64.b64decode(data, validate=True)
        if content is not None and len(content) != size:
            raise ValueError(f"a result of {size!r:.40} bytes has {len(content)}")
        results.append(_Listed(count(rank), count(size, 1 << 50), content))
    if len({result.rank for result in results}) != len(results):
        raise ValueError("two results of one rank")
    return results


async def _pieces(agent: Agent, run: str, node: str, result: _Listed) -> AsyncIterator[bytes]:
    """Yield the bytes of a result, a piece at a time. Raises NodeError if the node sends anything else."""

    def ask(offset: int, length: int) -> asyncio.Task[Any]:
        return asyncio.create_task(
            agent.ask(
                "read_result", timeout=_PIECE_TIMEOUT, run=run, node=node,
                rank=result.rank, offset=offset, length=length,
            )
        )  # fmt: skip

    spans = _spans(result.size)
    asked: list[tuple[int, asyncio.Task[Any]]] = []
    try:
        for offset, length in spans:
            asked.append((length, ask(offset, length)))
            if len(asked) == _AHEAD:
                yield await _piece(node, *asked.pop(0))
        while asked:
            yield await _piece(node, *asked.pop(0))
    finally:
        for _, task in asked:
            task.cancel()
        await asyncio.gather(*(task for _, task in asked), return_exceptions=True)


def _spans(size: int) -> Iterator[tuple[int, int]]:
    for offset in range(0, size, _PIECE):
        yield offset, min(_PIECE, size - offset)


async def _piece(node: str, length: int, answer: asyncio.Task[Any]) -> bytes:
    def content(said: Any) -> bytes:
        data = base64.b64decode(said, validate=True)
        if len(data) != length:
            raise ValueError(f"{len(data)} bytes in place of {length}")
        return data

    return parse_answer(node, "read_result", content, await answer)
