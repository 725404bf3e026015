"""The MTU of the path between nodes: large packets that vanish."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from orchestrator.preflight import answers
from orchestrator.preflight.interfaces.tournament import Pair, blame, pair_of
from orchestrator.preflight.judge import for_all, to_findings
from orchestrator.preflight.model import (
    Advance,
    Check,
    Context,
    Finding,
    Group,
    Level,
    Measurement,
    NoAnswer,
    Status,
)
from orchestrator.preflight.reach.listeners import Listeners, Open
from orchestrator.preflight.reach.reachability import peers
from orchestrator.preflight.verdict import Verdict, fail, incomplete, passed, skip, warn
from orchestrator.remote.fleet import Fleet
from orchestrator.util.quoting import command_line

_SIZE = 1 << 20
_LIMIT = 20.0  # seconds of a node's attempts, all at once: a stall, once more, and the search
_HEADERS = {4: 40, 6: 60}  # bytes of IP and TCP before what TCP_MAXSEG counts


class End(StrEnum):
    """How it ended; `node/path.py` says what is what."""

    OK = "ok"
    HOLE = "hole"
    UNSTEADY = "unsteady"
    SLOW = "slow"
    STALLED = "stalled"
    FAILED = "failed"
    FOREIGN = "foreign"
    LATE = "late"


_UNTRIED = (End.FAILED, End.FOREIGN, End.LATE)


@dataclass(frozen=True)
class Passage:
    """What became of 1 MiB on one way.

    `largest` is the largest packet that gets through, in bytes with its headers, where large ones do
    not; `mss` the payload of a full one.
    """

    result: End
    text: str | None
    mss: int | None
    retransmits: int
    largest: int | None

    @classmethod
    def parse(cls, raw: Any, headers: int) -> Passage:
        """Return the passage that a node told, of packets with such headers. Raises as a probe's parser."""
        largest = raw.get("largest")
        return cls(
            result=End(raw["result"]),
            text=answers.optional(answers.text, raw["text"]),
            mss=answers.optional(int, raw["mss"]),
            retransmits=int(raw["retransmits"]),
            largest=None if largest is None else int(largest) + headers,
        )


@dataclass(frozen=True)
class Paths:
    """The passages between nodes, by (source, target) in node order; `silent` are nodes without any."""

    passages: Mapping[tuple[int, int], Passage]
    silent: Mapping[int, NoAnswer]


async def _measure(fleet: Fleet, context: Context, advance: Advance) -> Paths:
    """Send between main and each node, and around the ring, both ways, all at once."""
    tried = peers(context.names, Level.QUICK)
    async with Listeners(2 * _LIMIT) as listeners:
        found = await asyncio.gather(*map(listeners.own, fleet.agents, context.nodes))
        doors = {index: door for index, door in enumerate(found) if isinstance(door, Open)}

        async def send(index: int) -> dict[tuple[int, int], Passage] | NoAnswer:
            targets = [other for other in tried[index] if other in doors]
            passages = await _send(fleet, index, [doors[t] for t in targets], listeners.ask)
            advance(context.names[index], not isinstance(passages, NoAnswer))
            if isinstance(passages, NoAnswer):
                return passages
            return {(index, other): p for other, p in zip(targets, passages, strict=True)}

        sent = await asyncio.gather(*map(send, doors))
    silent = {
        index: door if isinstance(door, NoAnswer) else NoAnswer(door.text)
        for index, door in enumerate(found)
        if not isinstance(door, Open)
    }
    ways: dict[tuple[int, int], Passage] = {}
    for index, own in zip(doors, sent, strict=True):
        if isinstance(own, NoAnswer):
            silent[index] = own
        else:
            ways.update(own)
    return Paths(ways, silent)


async def _send(fleet: Fleet, index: int, doors: list[Open], ask: str) -> list[Passage] | NoAnswer:
    """Have one node send to others; return what became of it, in their order."""

    def passages(told: Any) -> list[Passage]:
        return [
            Passage.parse(raw, _HEADERS[6 if ":" in door.address else 4])
            for door, raw in zip(doors, told, strict=True)
        ]

    return await answers.ask(
        fleet.agents[index],
        "path",
        passages,
        timeout=_LIMIT + 10,
        limit=_LIMIT,
        targets=[[door.address, door.port, door.answer] for door in doors],
        ask=ask,
        size=_SIZE,
    )


PATHS = Measurement("mtu", Paths, _measure)


def _paths(context: Context) -> list[Finding]:
    if context.on_one_machine:
        return for_all(context, skip("all nodes are one machine"))
    found = context.require(Paths)
    verdicts = [
        (name, verdict)
        for kind in ((End.HOLE,), (End.STALLED,), (End.UNSTEADY,), _UNTRIED)
        for name, verdict in _faults(context, found, kind)
    ]
    verdicts += [
        (context.names[i], incomplete(answer.reason)) for i, answer in found.silent.items()
    ]
    blamed = {name for name, _ in verdicts}
    tried = {node for way in found.passages for node in way}
    fine = passed(f"{_SIZE >> 20} MiB passes in packets as large as the MTU")
    untried = incomplete("no other node takes part")
    return to_findings(
        verdicts
        + [
            (name, fine if index in tried else untried)
            for index, name in enumerate(context.names)
            if name not in blamed
        ]
    )


def _faults(context: Context, found: Paths, kind: tuple[End, ...]) -> Iterator[tuple[str, Verdict]]:
    """Yield the verdict on each node at fault, where what was sent ended in one of these ways."""
    tried = {pair_of(*way) for way in found.passages}
    bad: dict[Pair, list[tuple[int, int]]] = {}
    for way, passage in found.passages.items():
        if passage.result in kind:
            bad.setdefault(pair_of(*way), []).append(way)
    suspects = blame(bad, tried)
    for node in suspects.nodes:
        ways = [way for pair, own in bad.items() if node in pair for way in own]
        peer = "any other node" if len(context.names) > 2 else None
        yield context.names[node], _judge(context, found, node, ways, peer)
    for pair in suspects.pairs:
        for node in pair:
            yield context.names[node], _judge(context, found, node, bad[pair], None)


def _judge(
    context: Context, found: Paths, node: int, ways: list[tuple[int, int]], peer: str | None
) -> Verdict:
    """Return the verdict on `node` for what happened on `ways`; without `peer` it is the other's name."""
    if peer is None:
        peer = next(context.names[other] for way in ways for other in way if other != node)
    sends, receives = any(s == node for s, _ in ways), any(t == node for _, t in ways)
    to_and_from = " and ".join(["to"] * sends + ["from"] * receives)
    passages = [found.passages[way] for way in ways]
    interface = context.plan.nodes[node].interface
    data = {
        f"{context.names[s]} > {context.names[t]}": {
            "result": p.result.value, "largest": p.largest, "mss": p.mss, "retransmits": p.retransmits,
            "text": p.text,
        }
        for (s, t), p in zip(ways, passages, strict=True)
    }  # fmt: skip
    match passages[0].result:
        case End.HOLE:
            size = min(p.largest for p in passages if p.largest is not None)
            line = ["ip", "link", "set", "dev", interface or "", "mtu", str(size)]
            commands = (command_line(line),) if interface else ()
            return fail(
                f"packets of more than {size} bytes {to_and_from} {peer} vanish without a word: "
                "whatever sends much will hang",
                "let the network (switch, tunnel, bridge) carry the MTU that the interface has, "
                "or give the interface the size that gets through",
                commands,
                data,
            )
        case End.STALLED:
            return fail(
                f"{_SIZE >> 20} MiB {to_and_from} {peer} stalls, in small packets as well: "
                "it is not the MTU",
                "look for packets that are lost or filtered once a connection stands: "
                "`ip -s link`, `tc -s qdisc`, a firewall that looks into connections",
                data=data,
            )
        case End.UNSTEADY:
            return warn(
                f"{_SIZE >> 20} MiB {to_and_from} {peer} stalled once, and not again: "
                "packets are being lost",
                "look at the errors that `ip -s link` and `ethtool -S` count",
                data=data,
            )
    why = sorted({p.text or p.result for p in passages})
    return Verdict(
        Status.INCOMPLETE,
        f"could not be tried {to_and_from} {peer}: {', '.join(why)}",
        "see what net.tcp says of these nodes",
        data=data,
    )


CHECKS = (
    Check(
        id="net.mtupath",
        group=Group.INTERFACE,
        level=Level.FULL,
        meaning="packets as large as the MTU get through",
        page="Between main and every node, and between neighbours in a ring, 1 MiB is sent both ways. What "
        "makes no progress for 1.5 s is sent again, as it is and in small segments (TCP_MAXSEG). "
        "If only the small ones get through, the path drops large packets without a word (a black hole): "
        "that fails, with the size of the largest packet that passes. Logins and handshakes work on such "
        "a path, and the job hangs at its first large message. Cause is a switch, tunnel or bridge with "
        "a smaller MTU than the interfaces; `ip link set dev IF mtu N` mends it on the node. "
        "If nothing gets through, it fails as well: then it is not the MTU.",
        verdict=_paths,
        measurements=(PATHS,),
    ),
)
