"""Bandwidth between nodes, and which node is slow."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from orchestrator.preflight.interfaces.interfaces import INTERFACES, chosen_links
from orchestrator.preflight.interfaces.throughput import (
    BANDWIDTH,
    Bandwidth,
    in_bits,
    pair_values,
    suspects,
)
from orchestrator.preflight.interfaces.tournament import VERY_SLOW, Pair, blame, pair_of, typical
from orchestrator.preflight.judge import for_all, to_findings
from orchestrator.preflight.model import Check, Context, Finding, Group, Level, NoAnswer, Status
from orchestrator.preflight.verdict import Verdict, passed, skip
from orchestrator.util.quoting import command_line

_SHARE_WARN, _SHARE_FAIL = 0.7, 0.3  # of the link's speed
_LOPSIDED = 0.5  # of two nodes alone, one way beside the other


def _bandwidth(context: Context) -> list[Finding]:
    if context.on_one_machine:
        return for_all(context, skip("all nodes are one machine"))
    found = context.require(Bandwidth)
    verdicts: list[tuple[str, Verdict]] = []
    for judged in (_beside_others, _beside_link, _failed):
        known = {name for name, _ in verdicts}
        verdicts += [
            (name, verdict) for name, verdict in judged(context, found) if name not in known
        ]
    known = {name for name, _ in verdicts}
    fine = passed(f"{in_bits(typical(_rates(found)))} is usual each way")
    verdicts += [(name, fine) for name in context.names if name not in known]
    return to_findings(verdicts)


def _beside_others(context: Context, found: Bandwidth) -> Iterator[tuple[str, Verdict]]:
    """Yield the verdicts on nodes and pairs that are slower than others."""
    values, slow = pair_values(found.flows), suspects(found.flows)
    usual = typical(_rates(found), slow)
    for node in slow.nodes:
        best = max(value for pair, value in values.items() if node in pair)
        yield context.names[node], _slow_node(context, found, node, best, usual)
    for a, b in slow.pairs:
        yield from _slow_pair(context, found, (a, b), values[a, b], usual)
    if len(context.names) == 2 and len(found.flows) == 2:
        fast, slower = sorted(found.flows.values(), key=lambda flow: -flow.rate)
        if slower.rate < _LOPSIDED * fast.rate and not slower.capped:
            yield from _slow_pair(context, found, (0, 1), slower.rate, fast.rate)


def _slow_node(context: Context, found: Bandwidth, node: int, best: float, usual: float) -> Verdict:
    sends = [flow.rate for (source, _), flow in found.flows.items() if source == node]
    receives = [flow.rate for (_, target), flow in found.flows.items() if target == node]
    ways = " and ".join(
        f"{verb} {in_bits(median(rates))}"
        for verb, rates in (("sends", sends), ("receives", receives))
        if rates
    )
    return Verdict(
        Status.FAIL if best < VERY_SLOW * usual else Status.WARN,
        f"{ways}, whoever it meets; {in_bits(usual)} is usual",
        "look at its cable, its switch port, the speed its link has, what else uses it, and what "
        "shapes its traffic",
        _look(context, node),
        {"sends": sends, "receives": receives, "usual": usual},
    )


def _slow_pair(
    context: Context, found: Bandwidth, pair: Pair, value: float, usual: float
) -> Iterator[tuple[str, Verdict]]:
    for node, other in (pair, pair[::-1]):
        there, back = (found.flows.get(way) for way in ((node, other), (other, node)))
        ways = [f"to {context.names[other]} {in_bits(there.rate)}"] if there else []
        ways += [f"back {in_bits(back.rate)}"] if back else []
        yield (
            context.names[node],
            Verdict(
                Status.FAIL if value < VERY_SLOW * usual else Status.WARN,
                f"{', '.join(ways)}; {in_bits(usual)} is usual",
                "each does well with others: look at what lies between the two"
                if len(context.names) > 2
                else "look at what shapes the traffic of the one that sends less, and at its link",
                _look(context, node),
                {"there": there and there.rate, "back": back and back.rate, "usual": usual},
            ),
        )


def _look(context: Context, node: int) -> tuple[str, ...]:
    """Return the lines that show what a node's interface does."""
    interface = context.plan.nodes[node].interface
    return (
        ()
        if interface is None
        else (command_line(["tc", "-s", "qdisc", "show", "dev", interface]),)
    )


def _beside_link(context: Context, found: Bandwidth) -> Iterator[tuple[str, Verdict]]:
    """Yield the verdicts on nodes and pairs that fill too little of the link they have."""
    speeds = {
        index: link.known_speed * 125e3
        for index, link in enumerate(chosen_links(context).values())
        if not isinstance(link, NoAnswer) and link.known_speed is not None
    }
    shares: dict[Pair, float] = {}
    for way, flow in found.flows.items():
        if all(node in speeds for node in way):
            share = flow.rate / min(speeds[node] for node in way)
            share = 1.0 if flow.capped else share  # it may well carry more
            shares[pair_of(*way)] = min(share, shares.get(pair_of(*way), share))
    idle = blame([pair for pair, share in shares.items() if share < _SHARE_WARN], list(shares))
    for node in idle.nodes:
        share = max(share for pair, share in shares.items() if node in pair)
        yield (
            context.names[node],
            _underused(context, node, share, speeds[node], "whoever it meets"),
        )
    for pair in idle.pairs:
        for node, other in (pair, pair[::-1]):
            peer = f"with {context.names[other]}"
            yield context.names[node], _underused(context, node, shares[pair], speeds[node], peer)


def _underused(context: Context, node: int, share: float, speed: float, peer: str) -> Verdict:
    status, bound = (
        (Status.FAIL, _SHARE_FAIL) if share < _SHARE_FAIL else (Status.WARN, _SHARE_WARN)
    )
    return Verdict(
        status,
        f"fills less than {bound:.0%} of its link's {speed * 8e-9:g} Gb/s, {peer}",
        "look at what else uses the network, at the switch, at the cable's errors, and at what "
        "shapes the traffic",
        _look(context, node),
        {"share": share, "link": speed},
    )


def _failed(context: Context, found: Bandwidth) -> Iterator[tuple[str, Verdict]]:
    """Yield the verdicts on nodes and pairs that could not be measured."""
    bad: dict[Pair, list[str]] = {}
    for way, why in found.failures.items():
        bad.setdefault(pair_of(*way), []).append(why)
    tried = {pair_of(*way) for way in [*found.flows, *found.failures]}
    absent = blame(bad, tried)
    for node in absent.nodes:
        reasons = {why for pair, own in bad.items() if node in pair for why in own}
        yield context.names[node], _unmeasured("", reasons)
    for pair in absent.pairs:
        for node, other in (pair, pair[::-1]):
            yield context.names[node], _unmeasured(f" with {context.names[other]}", set(bad[pair]))


def _unmeasured(peer: str, reasons: set[str]) -> Verdict:
    message = f"could not be measured{peer}: {'; '.join(sorted(reasons))}"
    return Verdict(Status.INCOMPLETE, message, "see what net.tcp says of these nodes")


def _rates(found: Bandwidth) -> dict[tuple[int, int], float]:
    return {way: flow.rate for way, flow in found.flows.items()}


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
        measurements=(BANDWIDTH,),
    ),
)
