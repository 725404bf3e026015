"""The requests by which a node places a project's files, and their answers.

The steps are described in `node/placed.py`.
"""

from __future__ import annotations

import base64
import errno
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from orchestrator.errors import SyncError
from orchestrator.remote.agent import Agent, AgentRefusal
from orchestrator.sync.failure import refused
from orchestrator.sync.sharing import unusable
from orchestrator.sync.tree import Tree
from orchestrator.util.answers import count, flag, parse_answer, text, texts, timestamp

T = TypeVar("T")

_ANSWER_TIMEOUT = 30.0  # seconds
_TIME_PER_FILE = 0.002  # seconds, on a slow disk
_UNKNOWN_FILES = 100_000  # maximum files assumed for a tree that is not known here


@dataclass(frozen=True)
class Comparison:
    """A tree compared with the files on a node.

    `send` are positions in the tree to send, `delete` the number of files to delete. `kept` are files of
    the tree that have changed there and stay, `left` files that are deleted here but have changed there
    and stay; each has the first files and their number. `blocked` are the first files that cannot be
    placed, each with what is in the way.
    """

    send: tuple[range, ...]
    delete: int
    kept: tuple[str, ...]
    kept_count: int
    left: tuple[str, ...]
    left_count: int
    blocked: tuple[tuple[str, str], ...]

    @property
    def is_done(self) -> bool:
        return not (self.send or self.delete or self.blocked)

    @classmethod
    def parse(cls, answer: Any) -> Comparison:
        """Parse the answer of a node. Raises ValueError, LookupError or TypeError."""
        kept, left = (count(each) for each in answer["counts"])
        return cls(
            send=_ascending(range(count(first), count(end)) for first, end in answer["send"]),
            delete=count(answer["delete"]),
            kept=tuple(texts(answer["kept"])),
            kept_count=kept,
            left=tuple(texts(answer["left"])),
            left_count=left,
            blocked=tuple((text(path), text(by)) for path, by in answer["blocked"]),
        )


@dataclass(frozen=True)
class Seen:
    """The state of a project's folder `workdir` on a node when a run enters it.

    If the folder `is_new`, `passed` are the names that were already taken: paths, and the projects that
    use them (empty: unknown). `others` are the runs that use the folder. `run` is the one that placed
    files there last, at `time`; `comparison` is set if it was the same tree. If `is_done`, there is
    nothing to do. `have` are the requested files that exist there but were not placed.
    `identity` differs from that of any other node's folder unless they may be the same (empty: unknown).
    """

    workdir: str
    is_new: bool
    passed: tuple[tuple[str, str], ...]
    others: tuple[str, ...]
    run: str
    time: float
    is_same: bool
    is_done: bool
    have: frozenset[str]
    comparison: Comparison
    identity: str = ""

    @classmethod
    def parse(cls, answer: Any) -> Seen:
        """Parse the answer of a node. Raises ValueError, LookupError or TypeError."""
        return cls(
            workdir=_absolute(answer["workdir"]),
            is_new=flag(answer["new"]),
            identity=text(answer["identity"]),
            passed=tuple((text(path), text(source)) for path, source in answer["passed"]),
            others=tuple(texts(answer["others"])),
            run=text(answer["run"]),
            time=timestamp(answer["time"]),
            is_same=flag(answer["same"]),
            is_done=flag(answer["done"]),
            have=frozenset(texts(answer["have"])),
            comparison=Comparison.parse(answer),
        )


def packed(tree: Tree) -> str:
    """Return the entries of a tree as text for a request; `node/manifest.py` reads it."""
    rows = [[e.path, e.kind, e.size, e.mtime_ns, e.mode, e.target] for e in tree.entries]
    data = json.dumps(rows, separators=(",", ":")).encode("ascii")
    return base64.b64encode(zlib.compress(data, 1)).decode("ascii")


async def find(agent: Agent, workdir: str, owner: str, source: str) -> str:
    """Return the path of the project's folder on a node, which may not exist yet. Raises NodeError."""
    return await _ask(
        agent,
        "find",
        lambda a: _absolute(a["workdir"]),
        workdir=workdir,
        owner=owner,
        source=source,
    )


def time_limit(tree: Tree | None) -> float:
    """Return how many seconds a node has to inspect all files of a tree (None: an unknown tree)."""
    return _ANSWER_TIMEOUT + _TIME_PER_FILE * (
        _UNKNOWN_FILES if tree is None else len(tree.entries)
    )


async def enter(
    agent: Agent, workdir: str, arguments: Mapping[str, Any], timeout: float = _ANSWER_TIMEOUT
) -> Seen | str:
    """Enter the project's folder on a node, or return the name of the run that is placing files there.

    Raises SyncError if the folder cannot be used, NodeError.
    """
    try:
        return await _ask(agent, "enter", _seen_or_busy, timeout, workdir=workdir, **arguments)
    except AgentRefusal as refusal:
        raise unusable(agent.node.name, workdir, refusal) from None


async def compare(
    agent: Agent, run: str, listing: str, timeout: float = _ANSWER_TIMEOUT
) -> Comparison:
    """Compare a packed tree with the files on a node. Raises NodeError."""
    return await _ask(agent, "compare", Comparison.parse, timeout, run=run, tree=listing)


async def begin(agent: Agent, run: str, workdir: str, timeout: float = _ANSWER_TIMEOUT) -> None:
    """Let a node record the files that are about to be sent. Raises SyncError, NodeError."""
    with _recording_errors(agent, workdir):
        await agent.ask("begin", timeout=timeout, run=run)


async def settle(
    agent: Agent, run: str, workdir: str, timeout: float = _ANSWER_TIMEOUT
) -> frozenset[str]:
    """Let a node record the files that have arrived; return the requested files that exist there but were
    not placed. Raises SyncError, NodeError.
    """
    with _recording_errors(agent, workdir):
        return await _ask(agent, "settle", lambda a: frozenset(texts(a["have"])), timeout, run=run)


async def place(
    agent: Agent, run: str, workdir: str, files: str, timeout: float = _ANSWER_TIMEOUT
) -> frozenset[str]:
    """Let a node write the packed `files` of `sync/small.py`: `begin`, the transfer and `settle` in one.

    Raises SyncError, NodeError.
    """
    try:
        return await _ask(
            agent,
            "place",
            lambda a: frozenset(texts(a["have"])),
            timeout,
            run=run,
            files=files,
        )
    except AgentRefusal as refusal:
        raise refused(agent.node.name, workdir, refusal.text) from None


async def leave(agent: Agent, run: str, *, stay: bool = False) -> None:
    """Release the lock on a node and, unless the run is to `stay`, the folder. Raises NodeError."""
    await agent.ask("leave", run=run, stay=stay)


async def _ask(
    agent: Agent,
    verb: str,
    parse: Callable[[Any], T],
    timeout: float = _ANSWER_TIMEOUT,
    **arguments: Any,
) -> T:
    answer = await agent.ask(verb, timeout=timeout, **arguments)
    return parse_answer(agent.node.name, verb, parse, answer)


@contextmanager
def _recording_errors(agent: Agent, workdir: str) -> Iterator[None]:
    try:
        yield
    except AgentRefusal as refusal:
        fix, text = "fix that", f"{workdir} could not be brought up to date: {refusal.text}"
        if refusal.errno in (errno.ENOSPC, errno.EDQUOT):
            fix = f"free space on {agent.node.name}"
            text = f"no space for the record of what is in {workdir}: {refusal.text}"
        remedy = f"{fix} and launch again: what has arrived is kept"
        raise SyncError(text, node=agent.node.name, remedy=remedy) from None


def _ascending(rows: Iterable[range]) -> tuple[range, ...]:
    """Return ascending ranges that do not overlap. Raises ValueError for any others."""
    found = tuple(rows)
    ends = [0, *(row.stop for row in found)]
    if any(row.start < end or not row for row, end in zip(found, ends, strict=False)):
        raise ValueError("positions that are not ascending")
    return found


def _seen_or_busy(answer: Any) -> Seen | str:
    return text(answer["busy"]) if "busy" in answer else Seen.parse(answer)


def _absolute(path: Any) -> str:
    if not text(path).startswith("/") or "\0" in path:
        raise ValueError(f"not an absolute path: {path!r:.100}")
    return str(path)
