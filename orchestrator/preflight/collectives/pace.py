"""Who was slow in a trial, and how fast it was as a whole: pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from statistics import median
from typing import Any

from orchestrator.preflight.collectives.measured import Gloo, Measured, Nccl
from orchestrator.preflight.interfaces import tournament
from orchestrator.preflight.interfaces.throughput import in_bits
from orchestrator.preflight.interfaces.tournament import Pair
from orchestrator.preflight.model import Context, Finding, Remedy, Status
from orchestrator.util.quoting import command_line

_MBIT = 1e6 / 8  # bytes
_ENOUGH = 0.7  # of the link: who reaches that is not slow, though others with faster CPUs pass it


@dataclass(frozen=True)
class Expectation:
    """What is too little: a share of the link's speed, or of `most` Mb/s if that is less.

    `slow` is the share of what others reach below which one is slow, having been so once already.
    """

    slow: float
    warn: float
    fail: float
    most: float


# gloo sums on one thread, and rarely passes 10 Gb/s on any link; a tenth of that is no matter of CPUs,
# and what they are busy with besides makes no such difference between nodes.
EXPECTED = {
    Gloo: Expectation(slow=0.7, warn=0.1, fail=0.0, most=10_000),
    Nccl: Expectation(slow=tournament.SLOW, warn=0.7, fail=0.3, most=inf),
}


def judge_pace(context: Context, found: Measured) -> list[Finding]:
    """Return who was slow, and how fast it was as a whole."""
    slow = _slow(context, found)
    return [*slow, _speed(context, found, slow)]


def _slow(context: Context, found: Measured) -> list[Finding]:
    """Return who was slow, and is once more: with a good partner, or the same two again."""
    expected = EXPECTED[type(found)]
    suspects = tournament.slow(found.pairs)
    confirmed = tournament.slow(found.best, expected.slow)
    tried = {node for pair in found.again for node in pair}
    usual = tournament.typical(found.best, confirmed)
    # Of the fastest link: one that has come down to less than the others is what is looked for.
    fastest = max(_link_speeds(context), default=inf)
    enough = _ENOUGH * min(fastest, expected.most) * _MBIT
    findings = [
        _slow_node(context, found, node, rate, usual)
        for node in confirmed.nodes
        if node in suspects.nodes
        and node in tried
        and (rate := max(r for pair, r in found.best.items() if node in pair)) < enough
    ]
    findings.extend(
        _slow_pair(context, found, pair, usual)
        for pair in confirmed.pairs
        if pair in found.again and found.best[pair] < enough
    )
    untried = {node for node in suspects.nodes if node not in tried}
    untried |= {node for pair in suspects.pairs if pair not in found.again for node in pair}
    if untried:
        names = tuple(context.names[node] for node in sorted(untried))
        message = f"seems slow over {found.backend}, but was not tried once more"
        findings.append(Finding(Status.INCOMPLETE, names, message))
    return findings


def _slow_pair(context: Context, found: Measured, pair: Pair, usual: float) -> Finding:
    rate, nodes = found.best[pair], tuple(context.names[node] for node in pair)
    message = (
        f"are slow with each other: {in_bits(rate)} each way over {found.backend}; "
        f"{in_bits(usual)} is usual"
    )
    text = "each is well with others: look at what lies between the two, a switch or a cable"
    return Finding(
        _badness(rate, usual),
        nodes,
        message,
        Remedy(text, nodes=nodes),
        {"algbw": rate, "usual": usual},
    )


def _slow_node(context: Context, found: Measured, node: int, rate: float, usual: float) -> Finding:
    plan = context.plan.nodes[node]
    message = (
        f"is slow: {in_bits(rate)} each way over {found.backend}, whoever it meets; "
        f"{in_bits(usual)} is usual"
    )
    link = plan.interface
    looks = (["ethtool"], ["tc", "-s", "qdisc", "show", "dev"])
    commands = () if link is None else tuple(command_line([*look, link]) for look in looks)
    text = "look at its cable, its switch port, the speed that its link has, and what else uses it"
    return Finding(
        _badness(rate, usual),
        (plan.name,),
        message,
        Remedy(text, commands, (plan.name,)),
        {"algbw": rate, "usual": usual},
    )


def _badness(rate: float, usual: float) -> Status:
    return Status.FAIL if rate < tournament.VERY_SLOW * usual else Status.WARN


def _speed(context: Context, found: Measured, slow: list[Finding]) -> Finding:
    """Return how fast it was, held against the link where that is known and nobody is slow."""
    largest = max(found.sizes, key=lambda done: done.size)
    carried = largest.busbw(found.world_size)
    message = (
        f"all_reduce of {largest.size >> 20} MiB over {found.backend}: the sum is right, "
        f"busbw {in_bits(carried)}"
    )
    status, remedy = Status.PASS, None
    link = min(_link_speeds(context), default=None)
    if link is not None and len(context.names) > 1 and not slow:
        message += f", {carried / (link * _MBIT):.0%} of the link's {link / 1000:g} Gb/s"
        expected = EXPECTED[type(found)]
        reached = carried / (min(link, expected.most) * _MBIT)
        if reached < expected.warn:
            status = Status.FAIL if reached < expected.fail else Status.WARN
            remedy = Remedy(
                "no node is slower than the others: look at the switch, and at what else "
                "uses the network; `orch preflight --only net,nic` tells more"
            )
    blamed = {name for finding in slow for name in finding.nodes}
    nodes = tuple(name for name in context.names if name not in blamed) or context.names
    return Finding(status, nodes, message, remedy, _data(context, found))


def _link_speeds(context: Context) -> list[int]:
    """Return the speed of each node's link in Mb/s; empty where one is not known."""
    speeds = [
        next((i.speed for i in s.facts.interfaces if i.name == s.plan.interface), None)
        for s in context.nodes
    ]
    known = [speed for speed in speeds if speed]
    return known if len(known) == len(speeds) else []


def _data(context: Context, found: Measured) -> dict[str, Any]:
    """Return all numbers, in bytes and seconds."""
    pairs = found.best
    return {
        "sizes": [
            {
                "bytes": done.size,
                "seconds": median(done.seconds),
                "trials": len(done.seconds),
                "algbw": done.algbw,
                "algbw_p10": done.algbw_p10,
                "busbw": done.busbw(found.world_size),
            }
            for done in found.sizes
        ],
        "pairs": [
            {"nodes": [context.names[i] for i in pair], "algbw": pairs[pair]}
            for pair in sorted(pairs)
        ],
    }
