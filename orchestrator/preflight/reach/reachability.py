"""Try the ways between nodes: orch listens on all of them, and each connects to others.

Main and every node, and neighbours in a ring, are always tried in both directions. A full preflight tries
all pairs of up to `MAX_NODES_FOR_ALL_PAIRS` nodes. Larger jobs add a few random peers of each node: the
ways then grow with the nodes, and the good nodes stay connected when a tenth of all, or main, is bad.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from orchestrator.preflight import answers
from orchestrator.preflight.measure import ask_one
from orchestrator.preflight.model import Advance, Context, Level, Measurement, NoAnswer, NodeContext
from orchestrator.preflight.reach.attempts import Cause, Outcome, Way
from orchestrator.preflight.reach.faults import Fault, attribute
from orchestrator.preflight.reach.firewall import FIREWALL, PORT_RANGE, Firewall
from orchestrator.preflight.reach.link import LINK, Link
from orchestrator.preflight.reach.listeners import Listener, Listeners, try_from_each
from orchestrator.preflight.reach.load import LOAD, Load
from orchestrator.remote.agent import Agent
from orchestrator.remote.fleet import Fleet
from orchestrator.util.groups import grouped

ATTEMPT_TIMEOUT = 4.0
"""Seconds to connect: more than the 3 s after which the kernel reports that a neighbour is unknown."""

SECOND_TIMEOUT = 8.0
"""Seconds for a second try, if a node may only have been too busy to answer the first."""

MAX_NODES_FOR_ALL_PAIRS = 64

_MAX_NODES_FOR_RING = 8
_RANDOM_PEERS = {Level.QUICK: 2, Level.FULL: 8}
_MAX_CONCURRENT = 64
_MAX_CONCURRENT_AGAIN = 256
_NOT_ASKED = NoAnswer("it was not asked")


@dataclass(frozen=True)
class Defences:
    """What may block connections on a node that may be at fault."""

    firewall: Firewall | NoAnswer = _NOT_ASKED
    port_range: tuple[int, int] | NoAnswer = _NOT_ASKED
    link: Link | NoAnswer | None = _NOT_ASKED
    load: Load | NoAnswer = _NOT_ASKED

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

    @cached_property
    def late(self) -> frozenset[str]:
        """The nodes that answered only at the second try."""
        late = [way for way, outcome in self.outcomes.items() if outcome.is_late]
        own = {way.source for way in late if way.source == way.target}
        return frozenset(
            next((n for n in (w.target, w.source) if n in own), w.target) for w in late
        )

    def is_stuck(self, name: str) -> bool:
        """Return whether a node does not answer itself either."""
        own = (self.outcomes.get(Way(name, name, port)) for port in ("ephemeral", "main"))
        return any(outcome is not None and outcome.is_unanswered for outcome in own)


def peers(names: Sequence[str], level: Level) -> list[list[int]]:
    """Return the peers that each node tries, by position; main is 0.

    Each node starts with the one after it, so that not all try the same one at once.
    """
    count = len(names)
    if level is Level.FULL and count <= MAX_NODES_FOR_ALL_PAIRS:
        return [[(i + step) % count for step in range(1, count)] for i in range(count)]
    chosen = [set(own) for own in star_and_ring(count)]
    if count > _MAX_NODES_FOR_RING:
        rng = random.Random("\n".join(names))  # the same nodes, the same pairs
        for i in range(count):
            for j in rng.sample(range(count), _RANDOM_PEERS[level]):
                chosen[i].add(j)
                chosen[j].add(i)
    return [_from(i, own) for i, own in enumerate(chosen)]


def star_and_ring(count: int) -> list[list[int]]:
    """Return the peers of each of `count` nodes: main and all others, and neighbours in a ring."""
    ring = [{0, (i + 1) % count, (i - 1) % count} for i in range(count)]
    return [_from(i, set(range(count)) if i == 0 else own) for i, own in enumerate(ring)]


def _from(node: int, peers: set[int]) -> list[int]:
    """Return the peers of a node in order, those after it first."""
    return sorted(peers - {node}, key=lambda peer: (peer < node, peer))


async def measure(fleet: Fleet, context: Context, advance: Advance) -> Reachability:
    """Listen on all nodes, try every way, and ask the nodes at fault for what may be the cause."""
    names = context.names
    tried = peers(names, context.level)
    most = max(map(len, tried)) + 2  # itself, and the main port
    limit = _limit(most, ATTEMPT_TIMEOUT, _MAX_CONCURRENT)
    second = _limit(most, SECOND_TIMEOUT, _MAX_CONCURRENT_AGAIN)
    async with Listeners(2 * limit + second) as listeners:
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
            return await _attempt(
                fleet.agents[index], targets, listeners.ask, limit, ATTEMPT_TIMEOUT, _MAX_CONCURRENT
            )

        async def attempt_again(index: int, ways: Sequence[Way]) -> dict[Way, Outcome]:
            listening = dict(zip(names, opened, strict=True))
            wanted = {way: main if way.port == "main" else listening[way.target] for way in ways}
            targets = {way: each for way, each in wanted.items() if isinstance(each, Listener)}
            agent, timeout = fleet.agents[index], SECOND_TIMEOUT
            found = await _attempt(
                agent, targets, listeners.ask, second, timeout, _MAX_CONCURRENT_AGAIN
            )
            if isinstance(found, NoAnswer):
                return {}
            return {way: replace(each, is_late=each.passed) for way, each in found.items()}

        outcomes, silent = await try_from_each(names, opened, attempt, advance)
        by_source = grouped((way.source, way) for way in _unsure(outcomes))
        position = {name: index for index, name in enumerate(names)}
        later = (attempt_again(position[name], ways) for name, ways in by_source.items())
        for found in await asyncio.gather(*later):
            outcomes |= found

    result = Reachability(
        outcomes,
        {names[index]: answer for index, answer in silent.items()},
        main if isinstance(main, NoAnswer) else None,
        tuple(attribute(names, outcomes)),
    )
    suspects = {name for fault in result.faults for name in fault.suspects} | result.late
    return replace(result, defences=await _ask_suspects(fleet, context, suspects))


def _limit(attempts: int, timeout: float, at_once: int) -> float:
    """Return the seconds that a node has for its attempts, if each takes as long as it may."""
    return 5.0 + 2 * timeout * math.ceil(attempts / at_once)


def _unsure(outcomes: Mapping[Way, Outcome]) -> list[Way]:
    """Return the ways that may be open: they were accepted, or an end does not answer itself either."""
    unanswered = [way for way, outcome in outcomes.items() if outcome.is_unanswered]
    stuck = {way.source for way in unanswered if way.source == way.target}
    unsure = [
        way
        for way in unanswered
        if way.source != way.target
        and (outcomes[way].cause is Cause.SILENT or not stuck.isdisjoint(way[:2]))
    ]
    ends = {name for way in unsure for name in way[:2]}
    return [
        *unsure,
        *(way for way in unanswered if way.source == way.target and way.source in ends),
    ]


async def _attempt(
    agent: Agent,
    targets: Mapping[Way, Listener],
    ask: str,
    limit: float,
    patience: float,
    at_once: int,
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
        patience=patience,
        at_once=at_once,
    )


async def _ask_suspects(
    fleet: Fleet, context: Context, suspects: Collection[str]
) -> dict[str, Defences]:
    probes = (FIREWALL, PORT_RANGE, LINK, LOAD)

    async def ask(agent: Agent, node: NodeContext) -> tuple[str, Defences]:
        found = await ask_one(agent, node, probes)
        return node.name, Defences(*(found[probe.name] for probe in probes))

    pairs = zip(fleet.agents, context.nodes, strict=True)
    return dict(await asyncio.gather(*(ask(a, n) for a, n in pairs if n.name in suspects)))


REACH = Measurement("reachability", Reachability, measure, independent=True)
