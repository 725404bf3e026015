"""Bandwidth between nodes, pair by pair, and which node is slow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from orchestrator.errors import NodeError
from orchestrator.preflight.interfaces import INTERFACES, chosen_links, on_one_machine
from orchestrator.preflight.judge import Verdict, fold, whole
from orchestrator.preflight.listeners import SENSELESS, Listener, Listeners, Open
from orchestrator.preflight.model import Check, Finding, Group, Level, NoAnswer, Status
from orchestrator.preflight.reachability import Reachability
from orchestrator.preflight.scene import Advance, Scene, Stage
from orchestrator.preflight.tournament import (
    Pair,
    Round,
    Suspects,
    blame,
    pair_of,
    retest,
    rounds,
    slow,
)
from orchestrator.remote.fleet import Fleet

_WARM_UP, _SECONDS = 0.15, 0.35
_STREAMS = (
    4  # one connection is held back by one queue of a card, one path of a bond, or by a cloud
)
_CONNECT_TIME = 2.0
_LIMIT = 75.0  # seconds of the whole stage: pairs that do not connect cost the most
_CAPPED = 0.9  # the share of its time from which on the sending process is what sets the pace
_SHARE_WARN, _SHARE_FAIL = 0.7, 0.3  # of the link's speed
_VERY_SLOW = 0.3  # of what is usual between the others
_LOPSIDED = 0.5  # of two nodes alone, one way beside the other

Way = tuple[int, int]
"""From one node to another, by their positions."""


@dataclass(frozen=True)
class Flow:
    """What went one way: bytes a second, the share of the time in which the sender's CPU was the limit."""

    rate: float
    busy: float
    retransmits: int
    rtt: float
    mss: int

    @classmethod
    def parse(cls, raw: Any) -> Flow:
        """Return the flow that a node told. Raises as a probe's parser does."""
        rate = int(raw["bytes"]) / float(raw["seconds"])
        if not 0 <= rate < 1e15:
            raise ValueError(f"{rate} bytes a second")
        retransmits, mss = int(raw["retransmits"]), int(raw["mss"])
        return cls(rate, float(raw["busy"]), retransmits, float(raw["rtt"]), mss)

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


async def _measure(fleet: Fleet, scene: Scene, advance: Advance) -> Bandwidth:
    """Play a tournament; suspects play once more, with those that do well."""
    if len(scene.names) == 1 or on_one_machine(scene):
        return Bandwidth({}, {})
    async with Listeners(2 * _LIMIT) as listeners:
        doors = await asyncio.gather(*map(listeners.own, fleet.agents, scene.subjects))
        court = _Court(fleet, doors, listeners.ask, _blocked(scene))
        await court.play(rounds(len(scene.names)))
        values = pair_values(court.flows)
        await court.play(retest(slow(values), values))
    for index, name in enumerate(scene.names):
        advance(name, not any(index in way for way in court.failures))
    return Bandwidth(court.flows, court.failures)


def _blocked(scene: Scene) -> set[Way]:
    """Return the ways of which it is known already that nothing comes through."""
    found = scene.find(Reachability)
    if isinstance(found, NoAnswer):
        return set()
    index = {name: position for position, name in enumerate(scene.names)}
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
                for way, found in zip(
                    ways, await asyncio.gather(*map(self._send, ways)), strict=True
                ):
                    self._note(way, found)

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
        agent, limit = self._fleet.agents[source], 2 * _CONNECT_TIME + _WARM_UP + _SECONDS
        try:
            told = await agent.ask(
                "stream",
                timeout=limit + 5,
                limit=limit,
                target=[door.address, door.port],
                ask=self._ask,
                connect_time=_CONNECT_TIME,
                warm_up=_WARM_UP,
                seconds=_SECONDS,
                streams=_STREAMS,
            )
            return Flow.parse(told)
        except NodeError as error:
            return error.message.removeprefix(f"{agent.node.name}: ")
        except SENSELESS as error:
            return f"the node's answer makes no sense: {error!r}"


BANDWIDTH = Stage("bandwidth", Bandwidth, _measure)


def pair_values(flows: Mapping[Way, Flow]) -> dict[Pair, float]:
    """Return how well each pair does: the slower of its two ways, in bytes a second.

    A way whose sender was short of CPU time says nothing against the network: it counts as usual.
    """
    usual = median(flow.rate for flow in flows.values()) if flows else 0.0
    values: dict[Pair, float] = {}
    for way, flow in flows.items():
        value = max(flow.rate, usual) if flow.capped else flow.rate
        values[pair_of(*way)] = min(value, values.get(pair_of(*way), value))
    return values


def _bandwidth(scene: Scene) -> list[Finding]:
    if len(scene.names) == 1 or on_one_machine(scene):
        return whole(scene, Status.SKIP, "there is no network between the nodes")
    found = scene.find(Bandwidth)
    if isinstance(found, NoAnswer):
        return whole(scene, Status.INCOMPLETE, f"could not be measured: {found.reason}")
    verdicts: list[tuple[str, Verdict]] = []
    for judged in (_beside_others, _beside_link, _failed):
        known = {name for name, _ in verdicts}
        verdicts += [(name, verdict) for name, verdict in judged(scene, found) if name not in known]
    known = {name for name, _ in verdicts}
    fine = Verdict(Status.PASS, f"{_said(_usual(found, Suspects()))} is usual each way")
    verdicts += [(name, fine) for name in scene.names if name not in known]
    return fold(verdicts)


def _beside_others(scene: Scene, found: Bandwidth) -> Iterator[tuple[str, Verdict]]:
    """Yield the verdicts on nodes and pairs that are slower than others."""
    values = pair_values(found.flows)
    suspects = slow(values)
    usual = _usual(found, suspects)
    for node in suspects.nodes:
        best = max(value for pair, value in values.items() if node in pair)
        yield scene.names[node], _slow_node(scene, found, node, best, usual)
    for a, b in suspects.pairs:
        yield from _slow_pair(scene, found, (a, b), values[a, b], usual)
    if len(scene.names) == 2 and len(found.flows) == 2:
        fast, slower = sorted(found.flows.values(), key=lambda flow: -flow.rate)
        if slower.rate < _LOPSIDED * fast.rate and not slower.capped:
            yield from _slow_pair(scene, found, (0, 1), slower.rate, fast.rate)


def _slow_node(scene: Scene, found: Bandwidth, node: int, best: float, usual: float) -> Verdict:
    sends = [flow.rate for (source, _), flow in found.flows.items() if source == node]
    receives = [flow.rate for (_, target), flow in found.flows.items() if target == node]
    ways = " and ".join(
        f"{verb} {_said(median(rates))}"
        for verb, rates in (("sends", sends), ("receives", receives))
        if rates
    )
    return Verdict(
        Status.FAIL if best < _VERY_SLOW * usual else Status.WARN,
        f"{ways}, whoever it meets; {_said(usual)} is usual",
        "look at its cable, its switch port, the speed its link has, what else uses it, and what "
        "shapes its traffic",
        _look(scene, node),
        {"sends": sends, "receives": receives, "usual": usual},
    )


def _slow_pair(
    scene: Scene, found: Bandwidth, pair: Pair, value: float, usual: float
) -> Iterator[tuple[str, Verdict]]:
    for node, other in (pair, pair[::-1]):
        there, back = (found.flows.get(way) for way in ((node, other), (other, node)))
        ways = [f"to {scene.names[other]} {_said(there.rate)}"] if there else []
        ways += [f"back {_said(back.rate)}"] if back else []
        yield (
            scene.names[node],
            Verdict(
                Status.FAIL if value < _VERY_SLOW * usual else Status.WARN,
                f"{', '.join(ways)}; {_said(usual)} is usual",
                "each does well with others: look at what lies between the two"
                if len(scene.names) > 2
                else "look at what shapes the traffic of the one that sends less, and at its link",
                _look(scene, node),
                {"there": there and there.rate, "back": back and back.rate, "usual": usual},
            ),
        )


def _look(scene: Scene, node: int) -> tuple[str, ...]:
    """Return the lines that show what a node's interface does."""
    interface = scene.plan.nodes[node].interface
    return () if interface is None else (f"tc -s qdisc show dev {interface}",)


def _beside_link(scene: Scene, found: Bandwidth) -> Iterator[tuple[str, Verdict]]:
    """Yield the verdicts on nodes and pairs that fill too little of the link they have."""
    speeds = {
        index: link.known_speed * 125e3
        for index, link in enumerate(chosen_links(scene).values())
        if not isinstance(link, NoAnswer) and link.known_speed is not None
    }
    shares: dict[Pair, float] = {}
    for way, flow in found.flows.items():
        if all(node in speeds for node in way):
            share = flow.rate / min(speeds[node] for node in way)
            share = 1.0 if flow.capped else share  # it may well carry more
            shares[pair_of(*way)] = min(share, shares.get(pair_of(*way), share))
    suspects = blame([pair for pair, share in shares.items() if share < _SHARE_WARN], list(shares))
    for node in suspects.nodes:
        share = max(share for pair, share in shares.items() if node in pair)
        yield scene.names[node], _underused(scene, node, share, speeds[node], "whoever it meets")
    for pair in suspects.pairs:
        for node, other in (pair, pair[::-1]):
            peer = f"with {scene.names[other]}"
            yield scene.names[node], _underused(scene, node, shares[pair], speeds[node], peer)


def _underused(scene: Scene, node: int, share: float, speed: float, peer: str) -> Verdict:
    status, bound = (
        (Status.FAIL, _SHARE_FAIL) if share < _SHARE_FAIL else (Status.WARN, _SHARE_WARN)
    )
    return Verdict(
        status,
        f"fills less than {bound:.0%} of its link's {speed * 8e-9:g} Gb/s, {peer}",
        "look at what else uses the network, at the switch, at the cable's errors, and at what "
        "shapes the traffic",
        _look(scene, node),
        {"share": share, "link": speed},
    )


def _failed(scene: Scene, found: Bandwidth) -> Iterator[tuple[str, Verdict]]:
    """Yield the verdicts on nodes and pairs that could not be measured."""
    bad: dict[Pair, list[str]] = {}
    for way, why in found.failures.items():
        bad.setdefault(pair_of(*way), []).append(why)
    tried = {pair_of(*way) for way in [*found.flows, *found.failures]}
    suspects = blame(bad, tried)
    for node in suspects.nodes:
        reasons = {why for pair, own in bad.items() if node in pair for why in own}
        yield scene.names[node], _unmeasured("", reasons)
    for pair in suspects.pairs:
        for node, other in (pair, pair[::-1]):
            yield scene.names[node], _unmeasured(f" with {scene.names[other]}", set(bad[pair]))


def _unmeasured(peer: str, reasons: set[str]) -> Verdict:
    message = f"could not be measured{peer}: {'; '.join(sorted(reasons))}"
    return Verdict(Status.INCOMPLETE, message, "see what net.tcp says of these nodes")


def _usual(found: Bandwidth, suspects: Suspects) -> float:
    """Return the median of the ways in which nothing is suspect."""
    well = [
        flow.rate
        for way, flow in found.flows.items()
        if pair_of(*way) not in suspects.pairs and not set(way) & set(suspects.nodes)
    ]
    return median(well or [flow.rate for flow in found.flows.values()] or [0.0])


def _said(rate: float) -> str:
    """Return bytes a second as a person says it."""
    return f"{rate * 8e-9:.3g} Gb/s" if rate >= 125e6 else f"{rate * 8e-6:.3g} Mb/s"


CHECKS = (
    Check(
        id="net.bandwidth",
        group=Group.INTERFACE,
        level=Level.FULL,
        meaning="every node sends and receives as fast as its link, and as fast as the others",
        page="TCP for half a second each way between pairs of nodes, in rounds in which no node is in two "
        "pairs (all pairs up to 17 nodes, 16 partners for each of more). A node whose every pair is below "
        "0.85 of what is usual is slow, once a good partner has confirmed it: a warning, and below 0.3 "
        "a failure; so is a pair of nodes that do well with others. Where the link's speed is known, less "
        "than 70 % of it warns and less than 30 % fails. A way on which the sending process had no "
        "CPU time to spare is not held against the network.",
        verdict=_bandwidth,
        probes=(INTERFACES,),
        stages=(BANDWIDTH,),
    ),
)
