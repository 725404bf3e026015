"""Which nodes were slow in a trial, and how fast it was overall: pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from statistics import median
from typing import Any

from orchestrator.preflight.collectives.result import Gloo, Nccl, Result
from orchestrator.preflight.interfaces import tournament
from orchestrator.preflight.interfaces.throughput import in_bits
from orchestrator.preflight.model import Context, Finding, Remedy, Status
from orchestrator.preflight.verdict import Verdict
from orchestrator.util.quoting import command_line

_MBIT = 1e6 / 8  # bytes
_ENOUGH = 0.7  # of the link: a node that reaches it is not slow, even if faster CPUs reach more


@dataclass(frozen=True)
class Thresholds:
    """Shares of the link's speed, or of `most` Mb/s if that is less, below which to warn and to fail.

    `slow` is the share of what others reach below which a node is slow when it is measured again.
    """

    slow: float
    warn: float
    fail: float
    most: float


# gloo sums on one thread, and rarely exceeds 10 Gb/s on any link. CPUs do not explain less than a tenth of
# that, and other work on them does not make so large a difference between nodes.
THRESHOLDS = {
    Gloo: Thresholds(slow=0.7, warn=0.1, fail=0.0, most=10_000),
    Nccl: Thresholds(slow=tournament.SLOW, warn=0.7, fail=0.3, most=inf),
}


def judge_speed(context: Context, found: Result) -> list[Finding]:
    """Return the findings on slow nodes and pairs, and on the overall speed."""
    slow = list(_slow(context, found))
    return [*slow, _overall(context, found, slow)]


def _slow(context: Context, found: Result) -> Iterator[Finding]:
    """Yield findings on what was slow twice: a node also with a good partner, or the same pair again."""
    thresholds = THRESHOLDS[type(found)]
    suspects = tournament.slow(found.pairs)
    confirmed = tournament.slow(found.best, thresholds.slow)
    retested = {node for pair in found.retested for node in pair}
    usual = tournament.typical(found.best, confirmed)
    # Of the fastest link: one that has come down to less than the others must not pass.
    enough = _ENOUGH * min(max(_link_speeds(context), default=inf), thresholds.most) * _MBIT

    def finding(nodes: Sequence[int], rate: float, what: str, fix: str, *fixes: str) -> Finding:
        message = (
            f"{what}: {in_bits(rate)} each way over {found.backend}; {in_bits(usual)} is usual"
        )
        status = Status.FAIL if rate < tournament.VERY_SLOW * usual else Status.WARN
        verdict = Verdict(status, message, fix, fixes, {"algbw": rate, "usual": usual})
        return verdict.on([context.names[node] for node in nodes])

    for node in confirmed.nodes:
        rate = max(rate for pair, rate in found.best.items() if node in pair)
        if node in suspects.nodes and node in retested and rate < enough:
            link = context.plan.nodes[node].interface
            shows = (["ethtool"], ["tc", "-s", "qdisc", "show", "dev"]) if link else ()
            yield finding(
                [node],
                rate,
                "is slow with every other node",
                "check its cable, its switch port, the speed of its link, and what else uses it",
                *(command_line([*show, link or ""]) for show in shows),
            )
    for pair in confirmed.pairs:
        if pair in found.retested and found.best[pair] < enough:
            fix = "each is fast with others: check what is between the two, a switch or a cable"
            yield finding(pair, found.best[pair], "are slow with each other", fix)
    untested = {node for node in suspects.nodes if node not in retested}
    untested |= {node for pair in suspects.pairs if pair not in found.retested for node in pair}
    if untested:
        message = f"seems slow over {found.backend}, but was not measured again"
        names = [context.names[node] for node in sorted(untested)]
        yield Verdict(Status.INCOMPLETE, message).on(names)


def _overall(context: Context, found: Result, slow: Sequence[Finding]) -> Finding:
    """Return how fast it was, compared with the link if its speed is known and no node is slow."""
    largest = max(found.sizes, key=lambda each: each.size)
    busbw = largest.busbw(found.world_size)
    message = (
        f"all_reduce of {largest.size >> 20} MiB over {found.backend}: the sum is right, "
        f"busbw {in_bits(busbw)}"
    )
    status, remedy = Status.PASS, None
    link = min(_link_speeds(context), default=None)
    if link is not None and len(context.names) > 1 and not slow:
        message += f", {busbw / (link * _MBIT):.0%} of the link's {link / 1000:g} Gb/s"
        thresholds = THRESHOLDS[type(found)]
        reached = busbw / (min(link, thresholds.most) * _MBIT)
        if reached < thresholds.warn:
            status = Status.FAIL if reached < thresholds.fail else Status.WARN
            remedy = Remedy(
                "no node is slower than the others: check the switch, and what else uses the "
                "network; `orch preflight --only net,nic` has details"
            )
    reported = {name for finding in slow for name in finding.nodes}
    nodes = tuple(name for name in context.names if name not in reported) or context.names
    return Finding(status, nodes, message, remedy, _data(context, found))


def _link_speeds(context: Context) -> list[int]:
    """Return the speed of each node's link in Mb/s; none if one is not known."""
    speeds = [
        next((i.speed for i in n.facts.interfaces if i.name == n.plan.interface), None)
        for n in context.nodes
    ]
    known = [speed for speed in speeds if speed]
    return known if len(known) == len(speeds) else []


def _data(context: Context, found: Result) -> dict[str, Any]:
    """Return all numbers, in bytes and seconds."""
    return {
        "sizes": [
            {
                "bytes": each.size,
                "seconds": median(each.seconds),
                "trials": len(each.seconds),
                "algbw": each.algbw,
                "algbw_p10": each.algbw_p10,
                "busbw": each.busbw(found.world_size),
            }
            for each in found.sizes
        ],
        "pairs": [
            {"nodes": [context.names[i] for i in pair], "algbw": rate}
            for pair, rate in sorted(found.best.items())
        ],
    }
