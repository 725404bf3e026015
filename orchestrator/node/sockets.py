"""TCP connections that are stuck, and listening sockets, from the kernel's tables in /proc (proc(5))."""

from __future__ import annotations

import ipaddress
import os
import re
import struct
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Tuple

from .probes import read

_MAX_CONNECTIONS = 200
LISTENING = 10  # TCP_LISTEN of the kernel's net/tcp_states.h
_ESTABLISHED, _SYN_SENT = 1, 2
_STATES = {_ESTABLISHED: "established", _SYN_SENT: "connecting"}
_HEX = re.compile(r"[0-9A-F]+\Z")


class Connection(NamedTuple):
    """One line of the table. `unacked` are bytes that the peer has not acknowledged, `retransmits` how
    often in a row the oldest of them (or the SYN) was sent again.
    """

    state: int
    local: Tuple[str, int]
    remote: Tuple[str, int]
    unacked: int
    retransmits: int
    uid: int
    inode: int

    @property
    def is_stuck(self) -> bool:
        """Whether it waits for an answer that does not come."""
        if self.state == _SYN_SENT:
            return True
        return self.state == _ESTABLISHED and self.unacked > 0 and self.retransmits > 0

    @property
    def link(self) -> str:
        """What the descriptors of this socket lead to."""
        return "socket:[{:d}]".format(self.inode)


def stuck(pids: Iterable[int]) -> List[Dict[str, Any]]:
    """Return the connections of `pids` that wait for an answer which does not come, at most 200.

    Each is {"pid", "state": "connecting" | "established", "local": [address, port], "remote", "unacked":
    bytes, "retransmits": count}.
    """
    found: List[Dict[str, Any]] = []
    tables: Dict[str, List[Connection]] = {}  # by network namespace: usually they share one
    for pid in pids:
        try:
            namespace = os.readlink("/proc/{:d}/ns/net".format(pid))
            if namespace not in tables:
                tables[namespace] = [
                    each for each in table("/", "{:d}/net".format(pid)) if each.is_stuck
                ]
            own = read.open_files("/", pid) if tables[namespace] else []
        except OSError:
            continue  # it has just ended
        found += [
            {
                "pid": pid, "state": _STATES[each.state], "local": list(each.local),
                "remote": list(each.remote), "unacked": each.unacked, "retransmits": each.retransmits,
            }
            for each in tables[namespace]
            if each.link in own
        ]  # fmt: skip
    return found[:_MAX_CONNECTIONS]


def table(root: str, folder: str = "net") -> Iterator[Connection]:
    """Yield the connections in the tables of a `folder` of /proc; none if there are no such tables."""
    for name in ("tcp", "tcp6"):
        try:
            with open(
                read.below(root, "/proc/{}/{}".format(folder, name)), encoding="ascii"
            ) as file:
                yield from parse(file.read())
        except FileNotFoundError:
            continue  # a kernel without IPv6


def parse(text: str) -> Iterator[Connection]:
    """Yield the connections of a table; invalid lines are skipped."""
    for line in text.splitlines()[1:]:
        fields = line.split()
        try:
            yield Connection(
                state=_hex(fields[3]),
                local=_address(fields[1]),
                remote=_address(fields[2]),
                unacked=_hex(fields[4].partition(":")[0]),
                retransmits=_hex(fields[6]),
                uid=int(fields[7]),
                inode=int(fields[9]),
            )
        except (IndexError, ValueError):
            continue


def _address(text: str) -> Tuple[str, int]:
    """Return address and port of `0100007F:1F90`: the address is words of the machine's byte order."""
    digits, _, port = text.partition(":")
    if len(digits) not in (8, 32):
        raise ValueError("not an address: {!r:.60}".format(text))
    words = [_hex(digits[at : at + 8]) for at in range(0, len(digits), 8)]
    address = ipaddress.ip_address(struct.pack("={:d}I".format(len(words)), *words))
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address), _hex(port)


def _hex(digits: str) -> int:
    if not _HEX.match(digits) or len(digits) > 16:
        raise ValueError("not a hexadecimal number: {!r:.20}".format(digits))
    return int(digits, 16)
