"""Name a run, tell which other runs use its nodes, and have it wait for them if that is asked for."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from orchestrator import events
from orchestrator.errors import UsageError
from orchestrator.pipeline.phase import Phase
from orchestrator.remote.fleet import Fleet
from orchestrator.runs.folder import runs_folder
from orchestrator.util.answers import flag, parse_answer, text, texts, timestamp

_LOOK_AGAIN = 1.0  # seconds after which it is seen whether the nodes are free
_MOST_NAMES = 20  # that are tried; each is one of 65,536


@dataclass(frozen=True)
class _Seen:
    """What one node said: see `node/machine.py`."""

    taken: bool
    has: bool
    users: tuple[tuple[str, float], ...]
    ahead: tuple[str, ...]

    @classmethod
    def parse(cls, answer: Any) -> _Seen:
        return cls(
            flag(answer["taken"]),
            flag(answer["has"]),
            tuple((text(run), timestamp(seconds)) for run, seconds in answer["users"]),
            tuple(texts(answer["ahead"])),
        )

    @property
    def is_free(self) -> bool:
        return not self.users and not self.ahead


async def claim_nodes(
    fleet: Fleet, draw: Callable[[], str], emit: events.Emit, *, wait: bool = False
) -> str:
    """Return the name of a new run, one that `draw` gives and that nothing has here or on a node, once
    the run uses all nodes of the fleet.

    `emit` hears which runs use them too. With `wait`, it waits until none does and no run that waits came
    earlier: all nodes, or none, at once. Raises LaunchError.
    """
    since = time.time() if wait else None
    run, seen = await _name(fleet, draw, since)
    if not wait:
        if users := _users(fleet, seen):
            emit(events.NodesInUse(users))
        return run
    if await _claim(fleet, run, since, seen):
        return run
    with Phase("queue", (host.name for host in fleet.hosts), emit):
        told: tuple[Any, ...] = ()
        while True:
            # A place before which nobody stands is the first.
            place = 1 + len({ahead for each in seen for ahead in each.ahead})
            users = _users(fleet, seen)
            now = (place, [(user.run, user.nodes) for user in users])
            if now != told:
                told = now
                emit(events.NodesInUse(users, place))
            await asyncio.sleep(_LOOK_AGAIN * random.uniform(0.5, 1.5))
            seen = await _ask(fleet, run, since)
            if await _claim(fleet, run, since, seen):
                return run


async def _name(
    fleet: Fleet, draw: Callable[[], str], since: float | None
) -> tuple[str, list[_Seen]]:
    """Return a name that is free everywhere, and what the nodes said as they heard it."""
    for run in (draw() for _ in range(_MOST_NAMES)):
        if (runs_folder() / run).exists():
            continue
        seen = await _ask(fleet, run, since)
        if not any(each.taken for each in seen):
            return run, seen
        await fleet.ask_all("unuse", partial(_naming, run))
    raise UsageError(
        f"{_MOST_NAMES} names for the run are taken, here or on the nodes",
        remedy="--name gives it another, orch runs --prune removes old runs",
    )


def _naming(run: str, index: int) -> dict[str, Any]:
    return {"run": run}


async def _claim(fleet: Fleet, run: str, since: float | None, seen: Sequence[_Seen]) -> bool:
    """Use all nodes, if all are free; what one could not have is given up at the next look."""
    if not all(each.is_free for each in seen):
        return False
    return all(each.has for each in await _ask(fleet, run, since, claim=True))


async def _ask(fleet: Fleet, run: str, since: float | None, *, claim: bool = False) -> list[_Seen]:
    answers = await fleet.ask_all(
        "use",
        lambda index: {
            "run": run,
            "node": fleet.hosts[index].name,
            "since": since,
            "claim": claim,
        },
    )
    return [
        parse_answer(host.name, "use", _Seen.parse, answer)
        for host, answer in zip(fleet.hosts, answers, strict=True)
    ]


def _users(fleet: Fleet, seen: Sequence[_Seen]) -> tuple[events.User, ...]:
    """Return the runs that use the nodes, the oldest first, each with all of its nodes."""
    nodes: dict[str, list[str]] = {}
    ages: dict[str, float] = {}
    for host, each in zip(fleet.hosts, seen, strict=True):
        for run, seconds in each.users:
            nodes.setdefault(run, []).append(host.name)
            ages[run] = max(ages.get(run, 0.0), seconds)
    return tuple(
        events.User(run, tuple(nodes[run]), ages[run], (runs_folder() / run).exists())
        for run in sorted(nodes, key=lambda run: -ages[run])
    )
