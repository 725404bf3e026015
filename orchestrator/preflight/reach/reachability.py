"""Try the ways between nodes: orch listens on all of them, and each connects to others.

Main and every node, and neighbours in a ring, are always tried in both directions. A full preflight tries
all pairs of up to `MAX_NODES_FOR_ALL_PAIRS` nodes, and random peers as well if there are more.
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
from orchestrator.preflight.reach.listeners import Listener, Listeners, try_from_each
from orchestrator.remote.agent import Agent
from orchestrator.remote.fleet import Fleet

ATTEMPT_TIMEOUT = 4.0
"""Seconds to connect: more than the 3 s after which the kernel reports that a neighbour is unknown."""

MAX_NODES_FOR_ALL_PAIRS = 256

_RANDOM_PEERS = 8
_MAX_CONCURRENT = 64
_NOT_ASKED = NoAnswer("it was not asked")


@dataclass(frozen=True)
class Defences:
    """What may block connections on a node that may be at fault."""

    firewall: Firewall | NoAnswer = _NOT_ASKED
    port_range: tuple[int, int] | NoAnswer = _NOT_ASKED
    link: Link | NoAnswer | None = _NOT_ASKED

    @property
    def link_is_off(self) -> bool:
        """Whether the node's interface is down, or does not answer ARP."""
        return isinstance(self.link, Link) and not (self.link.up and self.link.arp)


@dataclass(frozen=True)
class Reachability:
    """How all attempts ended, also those of a node to reach itself.

    `silent` has the reason for each node that took no part. `main_port` is why orch could not listen there;
    None if it could. `faults` is what is wrong between the nodes, `defences` are those of the suspects.
    """

    outcomes: Mapping[Way, Outcome]
    silent: Mapping[str, NoAnswer] = field(default_factory=dict)
    main_port: NoAnswer | None = None
    faults: tuple[Fault, ...] = ()
    defences: Mapping[str, Defences] = field(default_factory=dict)

    @property
    def round_trips(self) -> dict[tuple[str, str], float]:
        """Seconds of a round trip by (source, target), for the ways that passed."""
        return {
            (way.source, way.target): outcome.seconds
            for way, outcome in self.outcomes.items()
            if way.port == "ephemeral" and way.source != way.target and outcome.passed
        }


def peers(names: Sequence[str], level: Level) -> list[list[int]]:
    """Return the peers that each node tries, by position; main is 0.

    Each node starts with the one after it, so that not all try the same one at once.
    """
    count = len(names)
    if level is Level.FULL and count <= MAX_NODES_FOR_ALL_PAIRS:
        return [[(i + step) % count for step in range(1, count)] for i in range(count)]
    chosen: list[set[int]] = [{0, (i + 1) % count, (i - 1) % count} for i in range(count)]
    chosen[0] = set(range(count))
    if level is Level.FULL:
        rng = random.Random("\n".join(names))  # the same nodes, the same pairs
        for i in range(count):
            for j in rng.sample(range(count), _RANDOM_PEERS):
                chosen[i].add(j)
                chosen[j].add(i)
    return [sorted(own - {i}, key=lambda j: (j - i) % count) for i, own in enumerate(chosen)]


async def measure(fleet: Fleet, context: Context, advance: Advance) -> Reachability:
    """Listen on all nodes, try every way, and ask the nodes at fault for what may be the cause."""
    names = context.names
    tried = peers(names, context.level)
    most = max(map(len, tried)) + 2  # itself, and the main port
    limit = 5.0 + 2 * ATTEMPT_TIMEOUT * math.ceil(most / _MAX_CONCURRENT)
    async with Listeners(2 * limit) as listeners:
        opened, main = await asyncio.gather(
            asyncio.gather(*map(listeners.own, fleet.agents, context.nodes)),
            listeners.main(fleet.agents[0], context),
        )

        async def attempt(index: int) -> dict[Way, Outcome] | NoAnswer:
            targets = {
                Way(names[index], names[other], "ephemeral"): listener
                for other in [index, *tried[index]]
                if isinstance(listener := opened[other], Listener)
            }
            if isinstance(main, Listener):
                targets[Way(names[index], names[0], "main")] = main
            return await _attempt(fleet.agents[index], targets, listeners.ask, limit)

        outcomes, silent = await try_from_each(names, opened, attempt, advance)

    faults = tuple(attribute(names, outcomes))
    return Reachability(
        outcomes,
        {names[index]: answer for index, answer in silent.items()},
        main if isinstance(main, NoAnswer) else None,
        faults,
        await _ask_suspects(fleet, context, faults),
    )


async def _attempt(
    agent: Agent, targets: Mapping[Way, Listener], ask: str, limit: float
) -> dict[Way, Outcome] | NoAnswer:
    """Have one node try its targets."""
    return await answers.ask(
        agent,
        "probe",
        lambda outcomes: dict(zip(targets, map(Outcome.parse, outcomes), strict=True)),
        timeout=limit + 10,
        limit=limit,
        targets=[[each.address, each.port, each.answer] for each in targets.values()],
        ask=ask,
        patience=ATTEMPT_TIMEOUT,
        at_once=_MAX_CONCURRENT,
    )


async def _ask_suspects(
    fleet: Fleet, context: Context, faults: Sequence[Fault]
) -> dict[str, Defences]:
    suspects = {name for fault in faults for name in fault.suspects}
    probes = (FIREWALL, PORT_RANGE, LINK)

    async def ask(agent: Agent, node: NodeContext) -> tuple[str, Defences]:
        found = await ask_one(agent, node, probes)
        return node.name, Defences(*(found[probe.name] for probe in probes))

    pairs = zip(fleet.agents, context.nodes, strict=True)
    return dict(await asyncio.gather(*(ask(a, n) for a, n in pairs if n.name in suspects)))


REACH = Measurement("reachability", Reachability, measure, independent=True)
