"""What a node reports of the processes of a run at one moment, as typed values (see `node/stacks.py`)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import partial
from typing import Any

from orchestrator.remote.agent import Agent
from orchestrator.util.answers import count, flag, parse_answer, text, timestamp
from orchestrator.util.text import printable

_ANSWER_DELAY = 5.0  # seconds to wait beyond the time that the node has
_MAX_TEXT = 300  # characters of a path
_MAX_RANK = 10_000_000


@dataclass(frozen=True)
class Frame:
    """A call of `function`, at `line` of `file` (0 if the line is unknown)."""

    function: str
    file: str
    line: int


@dataclass(frozen=True)
class Thread:
    """A Python thread with its frames, innermost first."""

    name: str
    is_main: bool
    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class Process:
    """A process of a rank, or of a launcher (`rank` None).

    `is_own` is false for the processes that a rank has started. `state` is the kernel's letter, `used` the
    CPU time in seconds, `main_used` that of the main thread, and `moved` the bytes read and written. `by`
    is how the stacks were taken (py-spy, signal), and `why` the reason if there are none.
    """

    pid: int
    rank: int | None
    is_own: bool
    name: str
    state: str
    used: float
    main_used: float
    moved: int
    by: str
    why: str
    threads: tuple[Thread, ...]

    @property
    def stack(self) -> tuple[Frame, ...]:
        """The frames of the main thread, innermost first; empty if they are unknown."""
        return next((thread.frames for thread in self.threads if thread.is_main), ())


@dataclass(frozen=True)
class StuckConnection:
    """A connection that waits for an answer; `is_new` if it is still being established.

    `unacked` bytes are not acknowledged by the other end and were sent again `retransmits` times.
    """

    pid: int
    is_new: bool
    local: tuple[str, int]
    remote: tuple[str, int]
    unacked: int
    retransmits: int


@dataclass(frozen=True)
class Snapshot:
    """The processes and stuck connections of a run on `node`, at a time of the node's clock (seconds)."""

    node: str
    at: float
    processes: tuple[Process, ...]
    stuck: tuple[StuckConnection, ...]

    def of_rank(self, rank: int | None) -> tuple[Process, ...]:
        """Return the processes of a rank, the rank itself first."""
        found = [process for process in self.processes if process.rank == rank]
        return tuple(sorted(found, key=lambda process: not process.is_own))

    @property
    def own(self) -> tuple[Process, ...]:
        """The ranks and launchers themselves."""
        return tuple(process for process in self.processes if process.is_own)


def parse_snapshot(node: str, answer: Any) -> Snapshot:
    """Return the snapshot in the answer of a node; `parsed` reports what is raised for anything else."""
    return Snapshot(
        node,
        timestamp(answer["at"]),
        tuple(map(_process, answer["processes"])),
        tuple(map(_stuck, answer["sockets"])),
    )


def _process(answer: Any) -> Process:
    rank = answer["rank"]
    return Process(
        pid=count(answer["pid"]),
        rank=None if rank is None else count(rank, _MAX_RANK),
        is_own=flag(answer["own"]),
        name=_text(answer["name"]),
        state=_text(answer["state"])[:1],
        used=timestamp(answer["used"]),
        main_used=timestamp(answer["main_used"]),
        moved=count(answer["moved"]),
        by="" if answer["by"] is None else _text(answer["by"]),
        why=_text(answer["why"]),
        threads=tuple(map(_thread, answer["threads"])),
    )


def _thread(answer: Any) -> Thread:
    frames = (Frame(_text(name), _text(file), count(line)) for name, file, line in answer["frames"])
    return Thread(_text(answer["name"]), flag(answer["main"]), tuple(frames))


def _stuck(answer: Any) -> StuckConnection:
    return StuckConnection(
        pid=count(answer["pid"]),
        is_new=answer["state"] == "connecting",
        local=_endpoint(answer["local"]),
        remote=_endpoint(answer["remote"]),
        unacked=count(answer["unacked"]),
        retransmits=count(answer["retransmits"]),
    )


def _endpoint(answer: Any) -> tuple[str, int]:
    address, port = answer
    return str(ipaddress.ip_address(text(address))), count(port, 65535)


def _text(answer: Any) -> str:
    return printable(text(answer), _MAX_TEXT)


async def take_snapshot(
    agent: Agent, run: str, node: str, *, limit: float, brief: bool = False
) -> Snapshot:
    """Return the snapshot that `node` takes within `limit` seconds. Raises NodeError.

    A `brief` one has only the main threads of ranks and launchers, and no connections.
    """
    answer = await agent.ask(
        "stacks", timeout=limit + _ANSWER_DELAY, limit=limit, run=run, node=node, brief=brief
    )
    return parse_answer(node, "stacks", partial(parse_snapshot, node), answer)
