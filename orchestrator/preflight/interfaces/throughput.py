"""Measure throughput between pairs of nodes, with each node in one pair at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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
from orchestrator.preflight.reach.listeners import Listener, Listeners
from orchestrator.preflight.reach.reachability import Reachability
from orchestrator.remote.fleet import Fleet

_WARM_UP, _SECONDS = 0.15, 0.35
_STREAMS = 4  # one stream is limited by one queue of the card, one path of a bond, or by the cloud
_CONNECT_TIMEOUT = 2.0
_TIMEOUT = 75.0  # seconds for all pairs; those that do not connect take the longest
_CPU_BOUND = 0.9  # from this share of busy time on, the sending process sets the pace

Way = tuple[int, int]
"""From one node to another, by position."""


@dataclass(frozen=True)
class Flow:
    """What went one way: bytes per second, and the share of time in which the sender's CPU was busy."""

    rate: float
    busy: float

    @classmethod
    def parse(cls, raw: Any) -> Flow:
        """Return the flow that a node reported. Raises as a probe's parser does."""
        rate = int(raw["bytes"]) / float(raw["seconds"])
        if not 0 <= rate < 1e15:
            raise ValueError(f"{rate} bytes a second")
        return cls(rate, float(raw["busy"]))

    @property
    def cpu_bound(self) -> bool:
        """Whether the sending process was the limit: the network may carry more."""
        return self.busy >= _CPU_BOUND


@dataclass(frozen=True)
class Bandwidth:
    """The flow of each way between nodes, by (source, target) in node order.

    `failures` has why other ways were not measured. No node was in two pairs at once.
    """

    flows: Mapping[Way, Flow]
    failures: Mapping[Way, str]

    @cached_property
    def rates(self) -> dict[Way, float]:
        """Bytes per second of each way."""
        return {way: flow.rate for way, flow in self.flows.items()}


async def _measure(fleet: Fleet, context: Context, advance: Advance) -> Bandwidth:
    """Play a tournament; measure suspects again, with partners that do well."""
    if context.on_one_machine:
        return Bandwidth({}, {})
    count = len(context.names)
    async with Listeners(2 * _TIMEOUT) as listeners:
        opened = await asyncio.gather(*map(listeners.own, fleet.agents, context.nodes))
        tournament = _Tournament(fleet, opened, listeners.ask, _blocked(context))
        await tournament.play(rounds(count))
        if count == 2:  # there is no other partner to measure a suspect with
            await tournament.play(rounds(count))
        flows = tournament.flows
        await tournament.play(retest(suspects(flows), pair_values(flows)))
    for index, name in enumerate(context.names):
        advance(name, not any(index in way for way in tournament.failures))
    return Bandwidth(flows, tournament.failures)


def _blocked(context: Context) -> set[Way]:
    """Return the ways that are known to be blocked."""
    found = context.find(Reachability)
    if isinstance(found, NoAnswer):
        return set()
    index = {name: position for position, name in enumerate(context.names)}
    return {
        (index[way.source], index[way.target])
        for way, outcome in found.outcomes.items()
        if way.port == "ephemeral" and not outcome.passed
    }


class _Tournament:
    """Measures rounds of pairs; the best attempt of each way counts."""

    def __init__(
        self,
        fleet: Fleet,
        listeners: Sequence[Listener | NoAnswer],
        ask: str,
        blocked: Collection[Way],
    ) -> None:
        self._fleet, self._listeners, self._ask, self._blocked = fleet, listeners, ask, blocked
        self._deadline = time.monotonic() + _TIMEOUT
        self.flows: dict[Way, Flow] = {}
        self.failures: dict[Way, str] = {}

    async def play(self, wanted: Iterable[Round]) -> None:
        """Measure the pairs of each round at once, first one way and then the other."""
        for pairs in wanted:
            for ways in (pairs, [(b, a) for a, b in pairs]):
                await asyncio.gather(*map(self._try, ways))

    async def _try(self, way: Way) -> None:
        found = await self._send(way)
        if isinstance(found, NoAnswer):
            if way not in self.flows:
                self.failures[way] = found.reason
        elif way not in self.flows or found.rate > self.flows[way].rate:
            self.flows[way] = found
            self.failures.pop(way, None)

    async def _send(self, way: Way) -> Flow | NoAnswer:
        source, target = way
        listener = self._listeners[target]
        if isinstance(listener, NoAnswer):
            return listener
        if way in self._blocked:
            return NoAnswer("no connection comes through")
        if time.monotonic() > self._deadline:
            return NoAnswer(f"there was no time left after {_TIMEOUT:g} s")
        limit = 2 * _CONNECT_TIMEOUT + _WARM_UP + _SECONDS
        return await answers.ask(
            self._fleet.agents[source],
            "stream",
            Flow.parse,
            timeout=limit + 5,
            limit=limit,
            target=[listener.address, listener.port],
            ask=self._ask,
            connect_time=_CONNECT_TIMEOUT,
            warm_up=_WARM_UP,
            seconds=_SECONDS,
            streams=_STREAMS,
        )


BANDWIDTH = Measurement("bandwidth", Bandwidth, _measure)


def in_bits(rate: float) -> str:
    """Return bytes per second in the unit of links: `9.4 Gb/s`."""
    return f"{rate * 8e-9:.3g} Gb/s" if rate >= 125e6 else f"{rate * 8e-6:.3g} Mb/s"


def pair_values(flows: Mapping[Way, Flow]) -> dict[Pair, float]:
    """Return the speed of each pair: the slower of its two ways, in bytes per second."""
    return {pair: flow.rate for pair, flow in _slower(flows).items()}


def suspects(flows: Mapping[Way, Flow]) -> Suspects:
    """Return the slow nodes and pairs, without those that only CPU-bound senders make slow."""
    slower = _slower(flows)
    found = slow(pair_values(flows))
    conclusive = {pair for pair, flow in slower.items() if not flow.cpu_bound}
    return Suspects(
        tuple(node for node in found.nodes if any(node in pair for pair in conclusive)),
        tuple(pair for pair in found.pairs if pair in conclusive),
    )


def _slower(flows: Mapping[Way, Flow]) -> dict[Pair, Flow]:
    fastest_first = sorted(flows.items(), key=lambda item: -item[1].rate)
    return {pair_of(*way): flow for way, flow in fastest_first}
