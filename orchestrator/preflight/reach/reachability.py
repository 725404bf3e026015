"""Try the way between nodes for real: orch listens on all of them, and each connects to others.

Main and every node, and neighbours in a ring, in both directions, always; all pairs up to a size, and
beyond that some random peers as well.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.preflight import answers
from orchestrator.preflight.measure import ask_one
from orchestrator.preflight.model import Advance, Context, Level, Measurement, NoAnswer, NodeContext
from orchestrator.preflight.reach.attempts import Outcome, Way
from orchestrator.preflight.reach.faults import Fault, attribute
from orchestrator.preflight.reach.firewall import FIREWALL, PORT_RANGE, Firewall
from orchestrator.preflight.reach.link import LINK, Link
from orchestrator.preflight.reach.listeners import Listeners, Open, Shut
from orchestrator.remote.agent import Agent
from orchestrator.remote.fleet import Fleet

ATTEMPT_TIME = 4.0
"""Seconds that connecting may take: more than the three in which the kernel gives a neighbour up."""

ALL_PAIRS = 256
"""Nodes up to which all pairs are tried in a full preflight."""

_RANDOM_PEERS = 8
_AT_ONCE = 64


@dataclass(frozen=True)
class Defences:
    """What a node that may be at fault has in the way of connections."""

    firewall: Firewall | NoAnswer
    port_range: tuple[int, int] | NoAnswer
    link: Link | NoAnswer | None

    @property
    def link_is_off(self) -> bool:
        """Whether the node's interface is switched off, or does not answer ARP."""
        return isinstance(self.link, Link) and not (self.link.up and self.link.arp)


@dataclass(frozen=True)
class Reachability:
    """How all attempts ended, a node's to reach itself included.

    `silent` has why nodes took no part. `main_port` is what kept orch from listening there; None: nothing
    did. `faults` is what is wrong among the nodes; of those that may be the reason are `defences`.
    """

    outcomes: Mapping[Way, Outcome]
    silent: Mapping[str, NoAnswer] = field(default_factory=dict)
    main_port: Shut | None = None
    faults: tuple[Fault, ...] = ()
    defences: Mapping[str, Defences] = field(default_factory=dict)

    @property
    def round_trips(self) -> dict[tuple[str, str], float]:
        """The seconds of a round trip by (source, target), where something came through."""
        return {
            (way.source, way.target): outcome.seconds
            for way, outcome in self.outcomes.items()
            if way.door == "ephemeral" and way.source != way.target and outcome.passed
        }


def peers(names: Sequence[str], level: Level) -> list[list[int]]:
    """Return whom each node tries, by position: main is the first.

    A node begins with the one after it, so that not all try the same at once.
    """
    count = len(names)
    if level is Level.FULL and count <= ALL_PAIRS:
        return [[(i + step) % count for step in range(1, count)] for i in range(count)]
    chosen: list[set[int]] = [{0, (i + 1) % count, (i - 1) % count} for i in range(count)]
    chosen[0] = set(range(count))
    if level is Level.FULL:
        dice = random.Random("\n".join(names))  # the same nodes, the same pairs
        for i in range(count):
            for j in dice.sample(range(count), _RANDOM_PEERS):
                chosen[i].add(j)
                chosen[j].add(i)
    return [sorted(own - {i}, key=lambda j: (j - i) % count) for i, own in enumerate(chosen)]


async def measure(fleet: Fleet, context: Context, advance: Advance) -> Reachability:
    """Listen everywhere, try every way, and ask the nodes at fault for what may be the reason."""
    tried = peers(context.names, context.level)
    most = max(map(len, tried)) + 2  # itself, and the main port
    limit = 5.0 + 2 * ATTEMPT_TIME * math.ceil(most / _AT_ONCE)
    async with Listeners(2 * limit) as listeners:
        doors, main = await asyncio.gather(
            asyncio.gather(*map(listeners.own, fleet.agents, context.nodes)),
            listeners.main(fleet.agents[0], context),
        )

        async def attempt(index: int) -> dict[Way, Outcome] | NoAnswer:
            wanted = [index, *tried[index]]
            targets = {
                Way(context.names[index], context.names[j], "ephemeral"): door
                for j in wanted
                if isinstance(door := doors[j], Open)
            }
            if isinstance(main, Open):
                targets[Way(context.names[index], context.names[0], "main")] = main
            found = await _attempt(fleet.agents[index], targets, listeners.ask, limit)
            advance(context.names[index], not isinstance(found, NoAnswer))
            return found

        ready = [index for index, door in enumerate(doors) if isinstance(door, Open)]
        attempts = await asyncio.gather(*map(attempt, ready))

    silent = {
        context.names[index]: door if isinstance(door, NoAnswer) else NoAnswer(door.text)
        for index, door in enumerate(doors)
        if not isinstance(door, Open)
    }
    outcomes: dict[Way, Outcome] = {}
    for index, found in zip(ready, attempts, strict=True):
        if isinstance(found, NoAnswer):
            silent[context.names[index]] = found
        else:
            outcomes.update(found)
    faults = tuple(attribute(context.names, outcomes))
    defences = await _ask_suspects(fleet, context, faults)
    shut = Shut(main.reason, None) if isinstance(main, NoAnswer) else main
    return Reachability(
        outcomes, silent, shut if isinstance(shut, Shut) else None, faults, defences
    )


async def _attempt(
    agent: Agent, targets: Mapping[Way, Open], ask: str, limit: float
) -> dict[Way, Outcome] | NoAnswer:
    """Have one node try its targets."""
    return await answers.ask(
        agent,
        "probe",
        lambda told: dict(zip(targets, map(Outcome.parse, told), strict=True)),
        timeout=limit + 10,
        limit=limit,
        targets=[[door.address, door.port, door.answer] for door in targets.values()],
        ask=ask,
        patience=ATTEMPT_TIME,
        at_once=_AT_ONCE,
    )


async def _ask_suspects(
    fleet: Fleet, context: Context, faults: Sequence[Fault]
) -> dict[str, Defences]:
    suspects = {name for fault in faults for name in fault.suspects}

    async def ask(agent: Agent, node: NodeContext) -> tuple[str, Defences]:
        found = await ask_one(agent, node, (FIREWALL, PORT_RANGE, LINK))
        return node.name, Defences(*(found[p.name] for p in (FIREWALL, PORT_RANGE, LINK)))

    pairs = zip(fleet.agents, context.nodes, strict=True)
    return dict(await asyncio.gather(*(ask(a, s) for a, s in pairs if s.name in suspects)))


REACH = Measurement("reachability", Reachability, measure, independent=True)
