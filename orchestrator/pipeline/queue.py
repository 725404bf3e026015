"""Name a run, report which other runs use its nodes, and wait for them if requested."""

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

_POLL_INTERVAL = 1.0  # seconds
_MAX_NAMES = 20  # tried; each is one of 65,536


@dataclass(frozen=True)
class _Usage:
    """The runs on one node, as it reports them (`node/machine.py`).

    The name of our run may be `taken`; `has`: our run uses the node. `users` are other runs that use it,
    each with the seconds since its start, and `ahead` those that wait for it and came earlier.
    """

    taken: bool
    has: bool
    users: tuple[tuple[str, float], ...]
    ahead: tuple[str, ...]

    @classmethod
    def parse(cls, answer: Any) -> _Usage:
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
    fleet: Fleet, new_name: Callable[[], str], emit: events.Emit, *, wait: bool = False
) -> str:
    """Return the name of a new run that uses all nodes of the fleet from now on.

    `new_name` proposes names; the first that is unused here and on all nodes is taken. `emit` gets the
    other runs that use the nodes. With `wait`, the run waits until no other run uses them and no waiting
    run came earlier; it gets all nodes at once. Raises LaunchError.
    """
    since = time.time() if wait else None
    run, nodes = await _choose_name(fleet, new_name, since)
    users = _users(fleet, nodes)
    if not wait and users:
        emit(events.NodesInUse(users))
    if not wait or await _claim(fleet, run, since, nodes):
        return run
    with Phase("queue", (host.name for host in fleet.hosts), emit):
        reported: tuple[Any, ...] = ()
        while True:
            place = 1 + len({run for node in nodes for run in node.ahead})
            users = _users(fleet, nodes)
            present = (place, [(user.run, user.nodes) for user in users])
            if present != reported:
                reported = present
                emit(events.NodesInUse(users, place))
            await asyncio.sleep(_POLL_INTERVAL * random.uniform(0.5, 1.5))
            nodes = await _ask(fleet, run, since)
            if await _claim(fleet, run, since, nodes):
                return run


async def _choose_name(
    fleet: Fleet, new_name: Callable[[], str], since: float | None
) -> tuple[str, list[_Usage]]:
    """Return a name that is free everywhere, and the nodes' answers to it."""
    for run in (new_name() for _ in range(_MAX_NAMES)):
        if (runs_folder() / run).exists():
            continue
        nodes = await _ask(fleet, run, since)
        if not any(node.taken for node in nodes):
            return run, nodes
        await fleet.ask_all("unuse", partial(_name, run))
    raise UsageError(
        f"{_MAX_NAMES} names for the run are taken, here or on the nodes",
        remedy="give it another one with --name, or remove old runs: orch runs --prune",
    )


def _name(run: str, index: int) -> dict[str, Any]:
    return {"run": run}


async def _claim(fleet: Fleet, run: str, since: float | None, nodes: Sequence[_Usage]) -> bool:
    """Reserve all nodes if all are free; if one was taken meanwhile, the next request releases the rest."""
    if not all(node.is_free for node in nodes):
        return False
    return all(node.has for node in await _ask(fleet, run, since, claim=True))


async def _ask(fleet: Fleet, run: str, since: float | None, *, claim: bool = False) -> list[_Usage]:
    request = {"run": run, "since": since, "claim": claim}
    answers = await fleet.ask_all("use", lambda index: {**request, "node": fleet.hosts[index].name})
    return [
        parse_answer(host.name, "use", _Usage.parse, answer)
        for host, answer in zip(fleet.hosts, answers, strict=True)
    ]


def _users(fleet: Fleet, nodes: Sequence[_Usage]) -> tuple[events.User, ...]:
    """Return the runs that use the nodes, the oldest first, each with all of its nodes."""
    names: dict[str, list[str]] = {}
    ages: dict[str, float] = {}
    for host, node in zip(fleet.hosts, nodes, strict=True):
        for run, seconds in node.users:
            names.setdefault(run, []).append(host.name)
            ages[run] = max(ages.get(run, 0.0), seconds)
    return tuple(
        events.User(run, tuple(names[run]), ages[run], (runs_folder() / run).exists())
        for run in sorted(names, key=lambda run: -ages[run])
    )
