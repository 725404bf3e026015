"""Send between nodes as fast as it goes, pair by pair, never on one node twice at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.preflight import answers
from orchestrator.preflight.interfaces.tournament import (
    Pair,
    Round,
    Suspects,
    pair_of,
    retest,
    rounds,
    slow,
)
from orchestrator.preflight.model import Advance, Context, Measurement, NoAnswer
from orchestrator.preflight.reach.listeners import Listener, Listeners, Open
from orchestrator.preflight.reach.reachability import Reachability
from orchestrator.remote.fleet import Fleet

_WARM_UP, _SECONDS = 0.15, 0.35
_STREAMS = 4  # one alone is held back by a queue of a card, a path of a bond, or by a cloud
_CONNECT_TIME = 2.0
_LIMIT = 75.0  # seconds of the whole stage: pairs that do not connect cost the most
_CAPPED = 0.9  # the share of its time from which on the sending process is what sets the pace

Way = tuple[int, int]
"""From one node to another, by their positions."""


@dataclass(frozen=True)
class Flow:
    """What went one way: bytes a second, the share of the time in which the sender's CPU was the limit."""

    rate: float
    busy: float

    @classmethod
    def parse(cls, raw: Any) -> Flow:
        """Return the flow that a node told. Raises as a probe's parser does."""
        rate = int(raw["bytes"]) / float(raw["seconds"])
        if not 0 <= rate < 1e15:
            raise ValueError(f"{rate} bytes a second")
        return cls(rate, float(raw["busy"]))

    @property
    def capped(self) -> bool:
        """Whether this is as fast as one process could send: the network may well carry more."""
        return self.busy >= _CAPPED


@dataclass(frozen=True)
class Bandwidth:
    """What flowed each way between the nodes, by (source, target) in node order.

    `failures` has why other ways that were tried were not measured. No node was in two at once.
    """

    flows: Mapping[Way, Flow]
    failures: Mapping[Way, str]


async def _measure(fleet: Fleet, context: Context, advance: Advance) -> Bandwidth:
    """Play a tournament; suspects play once more, with those that do well."""
    if context.on_one_machine:
        return Bandwidth({}, {})
    async with Listeners(2 * _LIMIT) as listeners:
        doors = await asyncio.gather(*map(listeners.own, fleet.agents, context.nodes))
        court = _Court(fleet, doors, listeners.ask, _blocked(context))
        await court.play(rounds(len(context.names)))
        if len(context.names) == 2:  # there is nobody else to try a suspect with
            await court.play(rounds(2))
        await court.play(retest(suspects(court.flows), pair_values(court.flows)))
    for index, name in enumerate(context.names):
        advance(name, not any(index in way for way in court.failures))
    return Bandwidth(court.flows, court.failures)


def _blocked(context: Context) -> set[Way]:
    """Return the ways of which it is known already that nothing comes through."""
    found = context.find(Reachability)
    if isinstance(found, NoAnswer):
        return set()
    index = {name: position for position, name in enumerate(context.names)}
    return {
        (index[way.source], index[way.target])
        for way, outcome in found.outcomes.items()
        if way.door == "ephemeral" and not outcome.passed
    }


class _Court:
    """Where pairs of nodes meet; each way counts with the best of its attempts."""

    def __init__(
        self, fleet: Fleet, doors: list[Listener], ask: str, blocked: Collection[Way]
    ) -> None:
        self._fleet, self._doors, self._ask, self._blocked = fleet, doors, ask, blocked
        self._deadline = time.monotonic() + _LIMIT
        self.flows: dict[Way, Flow] = {}
        self.failures: dict[Way, str] = {}

    async def play(self, wanted: Iterable[Round]) -> None:
        """Measure the pairs of each round at once, one way and then the other."""
        for one in wanted:
            for ways in (one, [(b, a) for a, b in one]):
                found = await asyncio.gather(*map(self._send, ways))
                for way, outcome in zip(ways, found, strict=True):
                    self._note(way, outcome)

    def _note(self, way: Way, found: Flow | str) -> None:
        if isinstance(found, str):
            if way not in self.flows:
                self.failures[way] = found
        elif way not in self.flows or found.rate > self.flows[way].rate:
            self.flows[way] = found
            self.failures.pop(way, None)

    async def _send(self, way: Way) -> Flow | str:
        source, target = way
        door = self._doors[target]
        if not isinstance(door, Open):
            return door.reason if isinstance(door, NoAnswer) else door.text
        if way in self._blocked:
            return "no connection comes through"
        if time.monotonic() > self._deadline:
            return f"there was no time left after {_LIMIT:g} s"
        limit = 2 * _CONNECT_TIME + _WARM_UP + _SECONDS
        found = await answers.ask(
            self._fleet.agents[source],
            "stream",
            Flow.parse,
            timeout=limit + 5,
            limit=limit,
            target=[door.address, door.port],
            ask=self._ask,
            connect_time=_CONNECT_TIME,
            warm_up=_WARM_UP,
            seconds=_SECONDS,
            streams=_STREAMS,
        )
        return found.reason if isinstance(found, NoAnswer) else found


BANDWIDTH = Measurement("bandwidth", Bandwidth, _measure)


def in_bits(rate: float) -> str:
    """Return bytes a second as links are sold: `9.4 Gb/s`."""
    return f"{rate * 8e-9:.3g} Gb/s" if rate >= 125e6 else f"{rate * 8e-6:.3g} Mb/s"


def pair_values(flows: Mapping[Way, Flow]) -> dict[Pair, float]:
    """Return how well each pair does: the slower of its two ways, in bytes a second."""
    return {pair: flow.rate for pair, flow in _slower(flows).items()}


def suspects(flows: Mapping[Way, Flow]) -> Suspects:
    """Return who is slow for a reason that may lie in the network: its sender had CPU time to spare."""
    slower = _slower(flows)
    found = slow(pair_values(flows))
    telling = {pair for pair, flow in slower.items() if not flow.capped}
    return Suspects(
        tuple(node for node in found.nodes if any(node in pair for pair in telling)),
        tuple(pair for pair in found.pairs if pair in telling),
    )


def _slower(flows: Mapping[Way, Flow]) -> dict[Pair, Flow]:
    slower: dict[Pair, Flow] = {}
    for way, flow in flows.items():
        pair = pair_of(*way)
        if pair not in slower or flow.rate < slower[pair].rate:
            slower[pair] = flow
    return slower
