"""Evaluate a Match line of ssh_config for one host, as OpenSSH does.

The conditions of newer versions are evaluated for orch itself: its sessions run commands
(`sessiontype exec`), the user has given no command, and it is not a version of OpenSSH.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from orchestrator.node.network import addresses
from orchestrator.util.ssh_patterns import matches_list

_STANDS_ALONE = ("canonical", "final")
NEWER = ("command", "localnetwork", "sessiontype", "tagged", "version")
"""Conditions that OpenSSH 9.2 does not know."""


@dataclass(frozen=True)
class Circumstances:
    """What conditions are compared with. `run` returns the exit code of a command of `exec`."""

    host: str
    original_host: str
    user: str
    local_user: str
    tag: str
    is_final: bool
    run: Callable[[str], int]


def match_line(words: Iterable[str], now: Circumstances) -> bool:
    """Return whether a Match line with these `words` applies. Raises ValueError if it is invalid."""
    rest = iter(words)
    applies, count = True, 0
    for word in rest:
        negated, name = word.startswith("!"), word.removeprefix("!").lower()
        if name == "all":
            if count > 1 or next(rest, None) is not None:
                raise ValueError("`all` cannot be combined with other conditions of Match")
            return applies and not negated
        count += 1
        if name in _STANDS_ALONE:
            applies = applies and now.is_final != negated
            continue
        pattern = next(rest, None)
        if pattern is None:
            raise ValueError(f"Missing {name} match pattern")
        if name == "exec":
            applies = applies and (now.run(pattern) == 0) != negated
        elif name in _CONDITIONS:
            applies = (_CONDITIONS[name](pattern, now) != negated) and applies
        else:
            raise ValueError(f"Invalid match condition {name}")
    if not count:
        raise ValueError("Match has no condition")
    return applies


def _is_local_network(networks: str) -> bool:
    """Return whether this machine has an address in the networks. Raises ValueError for an invalid one."""
    wanted = [ip_network(network, strict=False) for network in networks.split(",")]
    if not hasattr(socket, "AF_NETLINK"):  # macOS has no simple way to list its addresses
        return False
    own = [ip_address(address.split("/")[0]) for _, address in addresses()]
    return any(address in network for network in wanted for address in own)


_CONDITIONS: dict[str, Callable[[str, Circumstances], bool]] = {
    "host": lambda pattern, now: matches_list(now.host.lower(), pattern.lower()),
    "originalhost": lambda pattern, now: matches_list(now.original_host.lower(), pattern.lower()),
    "user": lambda pattern, now: matches_list(now.user, pattern),
    "localuser": lambda pattern, now: matches_list(now.local_user, pattern),
    "command": lambda pattern, now: matches_list("", pattern),
    "localnetwork": lambda pattern, now: _is_local_network(pattern),
    "sessiontype": lambda pattern, now: matches_list("exec", pattern),
    "tagged": lambda pattern, now: matches_list(now.tag, pattern),
    "version": lambda pattern, now: matches_list("", pattern),
}
