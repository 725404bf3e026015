"""The MTU of the path between nodes: large packets that are dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from orchestrator.preflight import answers
from orchestrator.preflight.interfaces.tournament import localize, pair_of
from orchestrator.preflight.judge import between_machines, to_findings
from orchestrator.preflight.model import (
    Advance,
    Context,
    Finding,
    Group,
    Measurement,
    NoAnswer,
    Status,
    check,
)
from orchestrator.preflight.reach.listeners import Listener, Listeners, try_from_each
from orchestrator.preflight.reach.reachability import star_and_ring
from orchestrator.preflight.verdict import Verdict, fail, incomplete, passed, warn
from orchestrator.remote.agent import Agent
from orchestrator.remote.fleet import Fleet
from orchestrator.util.answers import optional
from orchestrator.util.groups import grouped
from orchestrator.util.quoting import command_line

_SIZE = 1 << 20
_TIMEOUT = 20.0  # seconds for all attempts of a node: a stall, a second one, and the search
_HEADERS = {4: 40, 6: 60}  # bytes of IP and TCP headers, which TCP_MAXSEG does not count

Way = tuple[int, int]
"""From one node to another, by position."""


class End(StrEnum):
    """How it ended (`node/path.py` defines these)."""

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
    """How 1 MiB went one way.

    `largest` is the size of the largest packet that gets through, with its headers, if large ones do not;
    `mss` is the payload of a full packet.
    """

    result: End
    text: str | None
    mss: int | None
    retransmits: int
    largest: int | None

    @classmethod
    def parse(cls, raw: Any, headers: int) -> Passage:
        """Return the passage that a node reported. Raises as a probe's parser does."""
        largest = raw.get("largest")
        return cls(
            result=End(raw["result"]),
            text=optional(answers.text, raw["text"]),
            mss=optional(int, raw["mss"]),
            retransmits=int(raw["retransmits"]),
            largest=None if largest is None else int(largest) + headers,
        )


@dataclass(frozen=True)
class Paths:
    """The passages between nodes, by (source, target) in node order; `silent` has why nodes have none."""

    passages: Mapping[Way, Passage]
    silent: Mapping[int, NoAnswer]


async def _measure(fleet: Fleet, context: Context, advance: Advance) -> Paths:
    """Send between main and each node, and around the ring, in both directions, all at once."""
    tried = star_and_ring(len(context.names))
    async with Listeners(2 * _TIMEOUT) as listeners:
        opened = await asyncio.gather(*map(listeners.own, fleet.agents, context.nodes))

        async def send(index: int) -> dict[Way, Passage] | NoAnswer:
            targets = {
                (index, other): listener
                for other in tried[index]
                if isinstance(listener := opened[other], Listener)
            }
            return await _send(fleet.agents[index], targets, listeners.ask)

        return Paths(*await try_from_each(context.names, opened, send, advance))


async def _send(
    agent: Agent, targets: Mapping[Way, Listener], ask: str
) -> dict[Way, Passage] | NoAnswer:
    """Have one node send to others."""

    def passages(raw: Any) -> dict[Way, Passage]:
        return {
            way: Passage.parse(each, _HEADERS[6 if ":" in listener.address else 4])
            for (way, listener), each in zip(targets.items(), raw, strict=True)
        }

    return await answers.ask(
        agent,
        "path",
        passages,
        timeout=_TIMEOUT + 10,
        limit=_TIMEOUT,
        targets=[[each.address, each.port, each.answer] for each in targets.values()],
        ask=ask,
        size=_SIZE,
    )


PATHS = Measurement("mtu", Paths, _measure)


@check("net.mtupath", Group.INTERFACE, measurements=(PATHS,))
@between_machines
def check_paths(context: Context) -> list[Finding]:
    """Packets as large as the MTU get through.

    Between main and every node, and between neighbours in a ring, 1 MiB is sent both ways. If it makes no
    progress for 1.5 s, it is sent again, unchanged and in small segments (TCP_MAXSEG). If only the small
    ones get through, the path drops large packets silently (a black hole): that fails, with the size of
    the largest packet that passes. Logins and handshakes work on such a path, but the job hangs at its
    first large message. The cause is a switch, tunnel or bridge with a smaller MTU than the interfaces;
    `ip link set dev IF mtu N` on the node avoids it. If nothing gets through, it fails as well, but the
    cause is not the MTU.
    """
    found = context.require(Paths)
    verdicts = [
        (node, verdict)
        for kind in ((End.HOLE,), (End.STALLED,), (End.UNSTEADY,), _UNTRIED)
        for node, verdict in _faults(context, found, kind)
    ]
    verdicts += [(index, incomplete(answer.reason)) for index, answer in found.silent.items()]
    named = {node for node, _ in verdicts}
    tried = {node for way in found.passages for node in way}
    fine = passed(f"{_SIZE >> 20} MiB passes in packets as large as the MTU")
    untried = incomplete("no other node takes part")
    others = [node for node in range(len(context.names)) if node not in named]
    verdicts += [(node, fine if node in tried else untried) for node in others]
    return to_findings((context.names[node], verdict) for node, verdict in verdicts)


def _faults(context: Context, found: Paths, kind: tuple[End, ...]) -> Iterator[tuple[int, Verdict]]:
    """Yield the verdict on each node at fault for the ways with one of these ends."""
    tried = {pair_of(*way) for way in found.passages}
    passages = found.passages.items()
    bad = grouped((pair_of(*way), way) for way, passage in passages if passage.result in kind)
    for node, peer, pairs in localize(bad, tried).ends(bad):
        ways = [way for pair in pairs for way in bad[pair]]
        if peer is None and len(context.names) == 2:
            peer = 1 - node
        name = "any other node" if peer is None else context.names[peer]
        yield node, _judge(context, found, node, ways, name)


def _judge(context: Context, found: Paths, node: int, ways: list[Way], peer: str) -> Verdict:
    """Return the verdict on `node` for what happened on `ways`, to and from `peer`."""
    sends, receives = any(s == node for s, _ in ways), any(t == node for _, t in ways)
    ends = f"{' and '.join(['to'] * sends + ['from'] * receives)} {peer}"
    passages = [found.passages[way] for way in ways]
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
            interface = context.plan.nodes[node].interface
            line = ["ip", "link", "set", "dev", interface or "", "mtu", str(size)]
            return fail(
                f"packets of more than {size} bytes {ends} are dropped silently: large messages will hang",
                "let the network (switch, tunnel, bridge) carry the interface's MTU, or set the MTU to the "
                "size that gets through",
                (command_line(line),) if interface else (),
                data,
            )
        case End.STALLED:
            return fail(
                f"{_SIZE >> 20} MiB {ends} stalls, in small packets as well: it is not the MTU",
                "look for packets lost or filtered after a connection is established: `ip -s link`, "
                "`tc -s qdisc`, a firewall with connection tracking",
                data=data,
            )
        case End.UNSTEADY:
            return warn(
                f"{_SIZE >> 20} MiB {ends} stalled once, and not again: packets are being lost",
                "check the error counters of `ip -s link` and `ethtool -S`",
                data=data,
            )
    why = sorted({p.text or p.result for p in passages})
    message = f"could not be tried {ends}: {', '.join(why)}"
    text = "see what net.tcp reports for these nodes"
    return Verdict(Status.INCOMPLETE, message, text, data=data)


CHECKS = (check_paths,)
