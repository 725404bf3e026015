"""Bandwidth between nodes: which nodes and pairs of nodes are slow."""

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
from orchestrator.preflight.interfaces.tournament import VERY_SLOW, Pair, localize, pair_of, typical
from orchestrator.preflight.judge import between_machines, to_findings
from orchestrator.preflight.model import Context, Finding, Group, NoAnswer, Status, check
from orchestrator.preflight.verdict import Verdict, passed
from orchestrator.util.groups import grouped
from orchestrator.util.quoting import command_line

_WARN_SHARE, _FAIL_SHARE = 0.7, 0.3  # of the link's speed
_LOPSIDED = 0.5  # of only two nodes: the slower way as a share of the other


@check("net.bandwidth", Group.INTERFACE, probes=(INTERFACES,), measurements=(BANDWIDTH,))
@between_machines
def check_bandwidth(context: Context) -> list[Finding]:
    """Every node sends and receives as fast as its link, and as fast as the others.

    TCP for half a second each way between pairs of nodes, in rounds in which no node is in two pairs (all
    pairs of up to 17 nodes, 16 partners of each if there are more). A node is slow if all its pairs are
    below 0.85 of what is usual, also when it is measured again with a good partner: that warns, and fails
    below 0.3. So does a slow pair of nodes that do well with others. If the link's speed is known, less
    than 70 % of it warns and less than 30 % fails. A way on which the sending process had no CPU time to
    spare is not counted.
    """
    found = context.require(Bandwidth)
    verdicts: dict[int, list[Verdict]] = {}
    for judge in (_slower_than_others, _slower_than_link, _failed):
        verdicts = grouped(judge(context, found)) | verdicts
    fine = passed(f"{in_bits(typical(found.rates))} is usual each way")
    return to_findings(
        (name, verdict)
        for index, name in enumerate(context.names)
        for verdict in verdicts.get(index, [fine])
    )


def _slower_than_others(context: Context, found: Bandwidth) -> Iterator[tuple[int, Verdict]]:
    """Yield the verdicts on nodes and pairs that are slower than others."""
    values, slow = pair_values(found.flows), suspects(found.flows)
    usual = typical(found.rates, slow)
    for node, peer, pairs in slow.ends(values):
        best = max(values[pair] for pair in pairs)
        if peer is None:
            yield node, _slow_node(context, found, node, best, usual)
        else:
            yield node, _slow_pair(context, found, (node, peer), best, usual)
    if len(context.names) == 2 and len(found.flows) == 2:
        fast, slower = sorted(found.flows.values(), key=lambda flow: -flow.rate)
        if slower.rate < _LOPSIDED * fast.rate and not slower.cpu_bound:
            for way in found.flows:
                yield way[0], _slow_pair(context, found, way, slower.rate, fast.rate)


def _slow_node(context: Context, found: Bandwidth, node: int, best: float, usual: float) -> Verdict:
    sends, receives = (
        [flow.rate for way, flow in found.flows.items() if way[end] == node] for end in (0, 1)
    )
    ways = [f"sends {in_bits(median(sends))}"] if sends else []
    ways += [f"receives {in_bits(median(receives))}"] if receives else []
    return Verdict(
        Status.FAIL if best < VERY_SLOW * usual else Status.WARN,
        f"{' and '.join(ways)} with every peer; {in_bits(usual)} is usual",
        "check its cable, its switch port, the speed of its link, what else uses it, and what shapes "
        "its traffic",
        _show_queues(context, node),
        {"sends": sends, "receives": receives, "usual": usual},
    )


def _slow_pair(
    context: Context, found: Bandwidth, way: tuple[int, int], value: float, usual: float
) -> Verdict:
    """Return the verdict on the first node of `way`, of a pair that reaches `value`."""
    node, other = way
    there, back = found.rates.get(way), found.rates.get((other, node))
    ways = [f"to {context.names[other]} {in_bits(there)}"] if there is not None else []
    ways += [f"back {in_bits(back)}"] if back is not None else []
    return Verdict(
        Status.FAIL if value < VERY_SLOW * usual else Status.WARN,
        f"{', '.join(ways)}; {in_bits(usual)} is usual",
        "both do well with others: check the network between the two"
        if len(context.names) > 2
        else "check what shapes the traffic of the one that sends less, and its link",
        _show_queues(context, node),
        {"there": there, "back": back, "usual": usual},
    )


def _show_queues(context: Context, node: int) -> tuple[str, ...]:
    """Return the command that shows what shapes the traffic of a node's interface."""
    interface = context.plan.nodes[node].interface
    words = ["tc", "-s", "qdisc", "show", "dev", interface or ""]
    return (command_line(words),) if interface else ()


def _slower_than_link(context: Context, found: Bandwidth) -> Iterator[tuple[int, Verdict]]:
    """Yield the verdicts on nodes and pairs that use too little of their link's speed."""
    speeds = {
        index: link.known_speed * 125e3
        for index, link in enumerate(chosen_links(context).values())
        if not isinstance(link, NoAnswer) and link.known_speed is not None
    }
    shares: dict[Pair, float] = {}
    for way, flow in found.flows.items():
        if speeds.keys() >= {*way}:
            link = min(speeds[node] for node in way)
            share = 1.0 if flow.cpu_bound else flow.rate / link  # the network may carry more
            shares[pair_of(*way)] = min(share, shares.get(pair_of(*way), share))
    slow = localize([pair for pair, share in shares.items() if share < _WARN_SHARE], shares)
    for node, peer, pairs in slow.ends(shares):
        share = max(shares[pair] for pair in pairs)
        failed = share < _FAIL_SHARE
        bound = _FAIL_SHARE if failed else _WARN_SHARE
        partner = "every peer" if peer is None else context.names[peer]
        verdict = Verdict(
            Status.FAIL if failed else Status.WARN,
            f"uses less than {bound:.0%} of its link's {speeds[node] * 8e-9:g} Gb/s with {partner}",
            "check what else uses the network, the switch, the cable's errors, and what shapes the "
            "traffic",
            _show_queues(context, node),
            {"share": share, "link": speeds[node]},
        )
        yield node, verdict


def _failed(context: Context, found: Bandwidth) -> Iterator[tuple[int, Verdict]]:
    """Yield the verdicts on nodes and pairs that could not be measured."""
    bad = grouped((pair_of(*way), why) for way, why in found.failures.items())
    tried = {pair_of(*way) for way in [*found.flows, *found.failures]}
    for node, peer, pairs in localize(bad, tried).ends(bad):
        reasons = "; ".join(sorted({why for pair in pairs for why in bad[pair]}))
        partner = "" if peer is None else f" with {context.names[peer]}"
        message = f"could not be measured{partner}: {reasons}"
        yield node, Verdict(Status.INCOMPLETE, message, "see what net.tcp reports for these nodes")


CHECKS = (check_bandwidth,)
