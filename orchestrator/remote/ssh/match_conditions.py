"""Match conditions of ssh_config that asyncssh does not support, or only with another library.

They are evaluated for orch itself: its sessions run commands (`sessiontype exec`), the user has given no
command, and it is not a version of OpenSSH.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address

from asyncssh.pattern import HostPatternList, WildcardPatternList

from orchestrator.node.network import addresses

STANDS_ALONE = ("all", "canonical", "final")
"""Conditions without a pattern."""


def settled(words: Iterable[str]) -> Iterator[str]:
    """Yield the words of a Match line, replacing each condition of this file by `all` (true) or `!all`.

    Raises ValueError if its pattern is missing.
    """
    rest = iter(words)
    for word in rest:
        name = word.lower().removeprefix("!")
        if name in STANDS_ALONE:
            yield word
            continue
        pattern = next(rest, None)
        if holds := _CONDITIONS.get(name):
            if pattern is None:
                raise ValueError(f"Missing {name} match pattern")
            yield "all" if holds(pattern) != word.startswith("!") else "!all"
        else:
            yield word
            if pattern is not None:
                yield pattern


def _is_local_network(pattern: str) -> bool:
    """Return whether this machine has an address in the networks."""
    networks = HostPatternList(pattern)
    if not hasattr(socket, "AF_NETLINK"):  # macOS has no simple way to list its addresses
        return False
    found = (address.split("/")[0] for _, address in addresses())
    return any(networks.matches("", address, ip_address(address)) for address in found)


def _is_session_type(pattern: str) -> bool:
    return WildcardPatternList(pattern).matches("exec")


def _is_of_nothing(pattern: str) -> bool:
    return WildcardPatternList(pattern).matches("")


_CONDITIONS: dict[str, Callable[[str], bool]] = {
    "command": _is_of_nothing,
    "localnetwork": _is_local_network,
    "sessiontype": _is_session_type,
    "version": _is_of_nothing,
}
