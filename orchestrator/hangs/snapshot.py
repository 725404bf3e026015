"""What a node tells of a run's processes at one moment, as typed values (`node/stacks.py` tells it)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from orchestrator.remote.agent import Agent
from orchestrator.remote.answers import parsed
from orchestrator.util.text import printable

_MARGIN = 5.0  # seconds beyond what the node has for it
_LONGEST = 300  # characters of a path
_MOST_RANKS = 10_000_000


@dataclass(frozen=True)
class Frame:
    """A call: `function` is at `line` of `file` (0: it is not known where)."""

    function: str
    file: str
    line: int


@dataclass(frozen=True)
class Thread:
    """A Python thread, its innermost frame first."""

    name: str
    is_main: bool
    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class Process:
    """A process of a rank, or of a launcher (`rank` None).

    `is_own` is false for what a rank has started. `state` is the kernel's letter, `used` seconds of CPU,
    `main_used` those of the main thread, and `moved` bytes read and written. `by` tells how the stacks
    came here (py-spy, signal), `why` why there are none.
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
        """The main thread's frames, innermost first; none where they are not known."""
        return next((thread.frames for thread in self.threads if thread.is_main), ())


@dataclass(frozen=True)
class StuckConnection:
    """A connection that waits for an answer which does not come: `is_new` for one to a connect.

    `unacked` are bytes that the other end has not acknowledged; they were sent again `retransmits` times.
    """

    pid: int
    is_new: bool
    local: tuple[str, int]
    remote: tuple[str, int]
    unacked: int
    retransmits: int


@dataclass(frozen=True)
class Snapshot:
    """What there was of a run on `node`, at a time of the node's own clock (seconds)."""

    node: str
    at: float
    processes: tuple[Process, ...]
    stuck: tuple[StuckConnection, ...]

    def of_rank(self, rank: int | None) -> tuple[Process, ...]:
        """The processes of a rank, its own the first."""
        found = [process for process in self.processes if process.rank == rank]
        return tuple(sorted(found, key=lambda process: not process.is_own))

    @property
    def own(self) -> tuple[Process, ...]:
        """The ranks and launchers themselves."""
        return tuple(process for process in self.processes if process.is_own)


def parse(node: str, said: Any) -> Snapshot:
    """Return the look that a node's answer holds. Raises ValueError for anything else."""
    try:
        return Snapshot(
            node,
            _seconds(said["at"]),
            tuple(_process(each) for each in said["processes"]),
            tuple(_stuck(each) for each in said["sockets"]),
        )
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{node}: not what its processes do: {error!r:.100}") from error


def _process(said: Any) -> Process:
    rank = said["rank"]
    return Process(
        pid=_count(said["pid"]),
        rank=None if rank is None else _count(rank, _MOST_RANKS),
        is_own=said["own"] is True,
        name=_text(said["name"]),
        state=_text(said["state"])[:1],
        used=_seconds(said["used"]),
        main_used=_seconds(said["main_used"]),
        moved=_count(said["moved"]),
        by="" if said["by"] is None else _text(said["by"]),
        why=_text(said["why"]),
        threads=tuple(
            Thread(
                _text(thread["name"]),
                thread["main"] is True,
                tuple(
                    Frame(_text(name), _text(file), _count(line))
                    for name, file, line in thread["frames"]
                ),
            )
            for thread in said["threads"]
        ),
    )


def _stuck(said: Any) -> StuckConnection:
    return StuckConnection(
        pid=_count(said["pid"]),
        is_new=said["state"] == "connecting",
        local=_end(said["local"]),
        remote=_end(said["remote"]),
        unacked=_count(said["unacked"]),
        retransmits=_count(said["retransmits"]),
    )


def _end(said: Any) -> tuple[str, int]:
    address, port = said
    return str(ipaddress.ip_address(_text(address))), _count(port, 65535)


def _text(said: Any) -> str:
    if not isinstance(said, str):
        raise TypeError(f"not a text: {said!r:.40}")
    return printable(said, _LONGEST)


def _count(said: Any, most: int = 1 << 63) -> int:
    if type(said) is not int or not 0 <= said <= most:
        raise ValueError(f"not a count: {said!r:.40}")
    return said


def _seconds(said: Any) -> float:
    if type(said) not in (int, float) or not 0 <= said < 1e12:
        raise ValueError(f"not a time: {said!r:.40}")
    return float(said)


async def take_snapshot(
    agent: Agent, run: str, node: str, *, limit: float, brief: bool = False
) -> Snapshot:
    """Return what `node` tells within `limit` seconds. Raises NodeError.

    A `brief` look has the main threads of ranks and launchers only, and no connections.
    """
    said = await agent.ask(
        "stacks", timeout=limit + _MARGIN, limit=limit, run=run, node=node, brief=brief
    )
    return parsed(node, "stacks", lambda said: parse(node, said), said)
