"""The steps in which a node places a project's files, as they are asked for and answered.

They are described in `node/placed.py`.
"""

from __future__ import annotations

import base64
import errno
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import SyncError
from orchestrator.remote.agent import Agent, AgentRefusal
from orchestrator.remote.answers import count, flag, parse_answer, text, texts, timestamp
from orchestrator.sync.sharing import unusable
from orchestrator.sync.tree import Tree

_ANSWER_TIME = 30.0  # seconds for any request
_LOOK_TIME = 0.002  # seconds for a file, on a disk that is slow
_MANY = 100_000  # files of a tree that is not known here


@dataclass(frozen=True)
class Verdict:
    """What is to be done on a node.

    `send` are positions in the tree. `kept` are files of the tree that stay as they are there, for they
    have changed, and `left` those that are gone here, have changed there and stay: the first of them, and
    how many there are. `blocked` are the first that cannot be brought, and what is in their way.
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
    def parse(cls, answer: Any) -> Verdict:
        """Return what a node said. Raises ValueError, LookupError or TypeError for what is no verdict."""
        kept, left = (count(each) for each in answer["counts"])
        return cls(
            send=_rising(range(count(first), count(end)) for first, end in answer["send"]),
            delete=count(answer["delete"]),
            kept=tuple(texts(answer["kept"])),
            kept_count=kept,
            left=tuple(texts(answer["left"])),
            left_count=left,
            blocked=tuple((text(path), text(by)) for path, by in answer["blocked"]),
        )


@dataclass(frozen=True)
class Seen:
    """What a node said as a run took part there.

    `workdir` is the folder. Of one that `is_new` the `passed` names are of others: paths, and what the
    sources of those are (empty: nobody says). `others` are runs that work there. `run` has placed files
    there last, and `time` is when; where that is the same tree, the verdict is about it. With `is_done`
    there is nothing to do. `have` are the files asked after that are there, but not as placed.
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
    verdict: Verdict

    @classmethod
    def parse(cls, answer: Any) -> Seen:
        """Return what a node said. Raises ValueError, LookupError or TypeError for anything else."""
        return cls(
            workdir=_absolute(answer["workdir"]),
            is_new=flag(answer["new"]),
            passed=tuple((text(path), text(source)) for path, source in answer["passed"]),
            others=tuple(texts(answer["others"])),
            run=text(answer["run"]),
            time=timestamp(answer["time"]),
            is_same=flag(answer["same"]),
            is_done=flag(answer["done"]),
            have=frozenset(texts(answer["have"])),
            verdict=Verdict.parse(answer),
        )


def folder(answer: Any) -> str:
    """Return the folder that a node has found. Raises ValueError, LookupError or TypeError."""
    return _absolute(answer["workdir"])


def packed(tree: Tree) -> str:
    """Return the entries of a tree as a text that travels in a request (`node/manifest.py` reads it)."""
    rows = [[e.path, e.kind, e.size, e.mtime_ns, e.mode, e.target] for e in tree.entries]
    data = json.dumps(rows, separators=(",", ":")).encode("ascii")
    return base64.b64encode(zlib.compress(data, 1)).decode("ascii")


async def find(agent: Agent, workdir: str, owner: str, source: str) -> str:
    """Return where the project's folder is on a node, or would be. Raises NodeError."""
    answer = await agent.ask("find", workdir=workdir, owner=owner, source=source)
    return parse_answer(agent.node.name, "find", folder, answer)


def patience(tree: Tree | None) -> float:
    """Return how many seconds a node has to look at all files of a tree (None: of one not known here)."""
    return _ANSWER_TIME + _LOOK_TIME * (_MANY if tree is None else len(tree.entries))


async def enter(
    agent: Agent, workdir: str, arguments: Mapping[str, Any], timeout: float = _ANSWER_TIME
) -> Seen | str:
    """Take part on a node, or return the name of the run that places files there now.

    Raises SyncError where the folder cannot be used, NodeError.
    """
    name = agent.node.name
    try:
        answer = await agent.ask("enter", timeout=timeout, workdir=workdir, **arguments)
    except AgentRefusal as refusal:
        raise unusable(name, workdir, refusal) from None
    return parse_answer(name, "enter", _seen_or_busy, answer)


async def compare(agent: Agent, run: str, listing: str, timeout: float = _ANSWER_TIME) -> Verdict:
    """Have a node compare a packed tree with what is there. Raises NodeError."""
    answer = await agent.ask("compare", timeout=timeout, run=run, tree=listing)
    return parse_answer(agent.node.name, "compare", Verdict.parse, answer)


async def begin(agent: Agent, run: str, workdir: str, timeout: float = _ANSWER_TIME) -> None:
    """Have a node put on record what is about to come. Raises SyncError, NodeError."""
    try:
        await agent.ask("begin", timeout=timeout, run=run)
    except AgentRefusal as refusal:
        raise _not_recorded(agent, workdir, refusal) from None


async def settle(
    agent: Agent, run: str, workdir: str, timeout: float = _ANSWER_TIME
) -> frozenset[str]:
    """Have a node put on record what has come; return which files it has other than placed, of those that
    were asked after. Raises SyncError, NodeError.
    """
    try:
        answer = await agent.ask("settle", timeout=timeout, run=run)
    except AgentRefusal as refusal:
        raise _not_recorded(agent, workdir, refusal) from None
    return parse_answer(
        agent.node.name, "settle", lambda said: frozenset(texts(said["have"])), answer
    )


async def leave(agent: Agent, run: str, *, stay: bool = False) -> None:
    """Let others have the turn on a node, and unless the run is to `stay`, the folder. Raises NodeError."""
    await agent.ask("leave", run=run, stay=stay)


def _not_recorded(agent: Agent, workdir: str, refusal: AgentRefusal) -> SyncError:
    name = agent.node.name
    if refusal.errno in (errno.ENOSPC, errno.EDQUOT):
        return SyncError(
            f"no room is left for orch's record of what is in {workdir}: {refusal.text}",
            node=name,
            remedy=f"make room on {name} and launch again: what has arrived stays",
        )
    return SyncError(
        f"{workdir} could not be brought up to date: {refusal.text}",
        node=name,
        remedy="see to that, and launch again: what has arrived stays",
    )


def _rising(rows: Iterable[range]) -> tuple[range, ...]:
    """Return rows of positions, none of which comes twice. Raises ValueError where one does."""
    found = tuple(rows)
    ends = [0, *(row.stop for row in found)]
    if any(row.start < end or not row for row, end in zip(found, ends, strict=False)):
        raise ValueError("positions that do not rise")
    return found


def _seen_or_busy(answer: Any) -> Seen | str:
    return text(answer["busy"]) if "busy" in answer else Seen.parse(answer)


def _absolute(path: Any) -> str:
    if not text(path).startswith("/") or "\0" in path:
        raise ValueError(f"not an absolute path: {path!r:.100}")
    return str(path)
