"""Walk the first packet of a connection of the job through chains of rules, as the kernel would.

What is unknown of the packet, or of a condition, is None: "maybe". A chain blocks if it may drop it.
"""

from __future__ import annotations

import ipaddress
import itertools
from typing import Any, Callable, Iterable, NamedTuple, Optional, Tuple, Union

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

_MAX_STEPS = 20000  # rules for one packet: a ruleset may be a loop of jumps
_MAX_JUMPS = 16  # nested, as in the kernel


class Packet(NamedTuple):
    """A packet that opens a TCP connection: `incoming`, or outgoing; None for what is unknown.

    `interface` is that of this node; `sports` are the first and last port that it may come from.
    """

    incoming: bool
    version: int
    source: Optional[Network]
    destination: Optional[Network]
    port: int
    sports: Tuple[int, int]
    interface: Optional[str]

    @property
    def family(self) -> str:
        """The name of its version of IP in nftables."""
        return "ip" if self.version == 4 else "ip6"


class Rule(NamedTuple):
    """What a rule does with the packet, and whether it applies to it.

    `verdict` is accept, drop, return, jump, goto, or none.
    """

    applies: Optional[bool]
    verdict: str
    target: str = ""


Chains = Callable[[str], Iterable[Rule]]
"""Reads the rules of a chain, lazily: of a large ruleset most are never needed."""


def blocks(chains: Chains, name: str, policy: str) -> bool:
    """Return whether the packet may be dropped or rejected in the base chain of this name."""
    steps = itertools.count(1)
    blocked = False

    def follow(name: str, depth: int) -> bool:
        """Follow one chain; return whether the packet certainly goes no further than this chain."""
        nonlocal blocked
        for rule in chains(name):
            if next(steps) > _MAX_STEPS or depth > _MAX_JUMPS:
                blocked = True  # maybe: it is unknown
                return True
            if rule.applies is False or rule.verdict == "none":
                continue
            if rule.verdict == "return":
                ended, left = False, True
            elif rule.verdict in ("jump", "goto"):
                ended, left = follow(rule.target, depth + 1), rule.verdict == "goto"
            else:
                blocked = blocked or rule.verdict == "drop"
                ended, left = True, True
            if rule.applies and (ended or left):
                return ended
        return False

    ended = follow(name, 0)
    return blocked or (not ended and policy == "drop")


def every(truths: Iterable[Optional[bool]]) -> Optional[bool]:
    """Return whether all hold."""
    found = list(truths)
    return False if False in found else None if None in found else True


def some(truths: Iterable[Optional[bool]]) -> Optional[bool]:
    """Return whether at least one holds."""
    return opposite(every(opposite(truth) for truth in truths))


def opposite(truth: Optional[bool]) -> Optional[bool]:
    """Return whether it does not hold."""
    return None if truth is None else not truth


def within(end: Optional[Network], first: Any, last: Any) -> Optional[bool]:
    """Return whether an end of the packet is an address from `first` to `last`, given as texts."""
    try:
        low, high = ipaddress.ip_address(str(first)), ipaddress.ip_address(str(last))
    except ValueError:
        return None
    if end is None:
        return None
    if low.version != end.version:
        return False
    ends = int(end.network_address), int(end.broadcast_address)
    return between(ends, int(low), int(high))


def between(ends: Tuple[int, int], low: int, high: int) -> Optional[bool]:
    """Return whether a number within the `ends` is from `low` to `high`."""
    if ends[1] < low or ends[0] > high:
        return False
    return True if low <= ends[0] and ends[1] <= high else None


def network(text: Any) -> Optional[Network]:
    """Return a network, or an address as one; None for neither."""
    try:
        return ipaddress.ip_network(str(text), strict=False)
    except ValueError:
        return None


def in_network(end: Optional[Network], text: Any) -> Optional[bool]:
    """Return whether an end of the packet is in a network, or is an address."""
    found = network(text)
    if found is None:
        return None
    return within(end, found.network_address, found.broadcast_address)


def on_interface(packet: Packet, pattern: Any, incoming: bool, wildcard: str) -> Optional[bool]:
    """Return whether the packet comes in by (goes out by) an interface of this name.

    A final `wildcard` stands for anything.
    """
    if packet.incoming != incoming:
        return False
    if packet.interface is None:
        return None
    text = str(pattern)
    if text.endswith(wildcard):
        return packet.interface.startswith(text[: -len(wildcard)])
    return packet.interface == text


def on_protocol(name: Any) -> bool:
    """Return whether TCP is meant."""
    return str(name).lower() in ("tcp", "6", "all")


def with_flags(mask: Iterable[str], expected: Iterable[str]) -> bool:
    """Return whether exactly the `expected` of the TCP flags in `mask` are set: the packet has only SYN."""
    return {"syn"} & {flag.lower() for flag in mask} == {flag.lower() for flag in expected}
