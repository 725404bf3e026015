"""Which TCP connections of some processes do not get through, by /proc/PID/net/tcp (proc(5))."""

from __future__ import annotations

import ipaddress
import os
import re
import struct
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Set, Tuple

MOST = 200
_ESTABLISHED, _SYN_SENT = 1, 2
_STATES = {_ESTABLISHED: "established", _SYN_SENT: "connecting"}
_SOCKET = re.compile(r"socket:\[([0-9]+)\]\Z")
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
    inode: int

    @property
    def is_stuck(self) -> bool:
        """Whether it waits for an answer that does not come."""
        if self.state == _SYN_SENT:
            return True
        return self.state == _ESTABLISHED and self.unacked > 0 and self.retransmits > 0


def stuck(pids: Iterable[int]) -> List[Dict[str, Any]]:
    """Return the connections of `pids` that wait for an answer which does not come, at most MOST.

    Each is {"pid", "state": "connecting" | "established", "local": [address, port], "remote", "unacked":
    bytes, "retransmits": count}.
    """
    found: List[Dict[str, Any]] = []
    tables: Dict[str, List[Connection]] = {}  # by network namespace: mostly they share one
    for pid in pids:
        try:
            space = os.readlink("/proc/{:d}/ns/net".format(pid))
            if space not in tables:
                tables[space] = [connection for connection in _read(pid) if connection.is_stuck]
            if not tables[space]:
                continue
            own = _inodes(pid)
        except OSError:
            continue  # it ended just now
        for connection in tables[space]:
            if connection.inode in own and len(found) < MOST:
                found.append(
                    {
                        "pid": pid, "state": _STATES[connection.state],
                        "local": list(connection.local), "remote": list(connection.remote),
                        "unacked": connection.unacked, "retransmits": connection.retransmits,
                    }
                )  # fmt: skip
    return found


def parse(table: str) -> Iterator[Connection]:
    """Yield the connections of a table; lines that make no sense are passed over."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        try:
            sent, _, _ = fields[4].partition(":")
            yield Connection(
                state=_hex(fields[3]),
                local=_end(fields[1]),
                remote=_end(fields[2]),
                unacked=_hex(sent),
                retransmits=_hex(fields[6]),
                inode=int(fields[9]),
            )
        except (IndexError, ValueError):
            continue


def _read(pid: int) -> Iterator[Connection]:
    for name in ("tcp", "tcp6"):
        try:
            with open("/proc/{:d}/net/{}".format(pid, name), encoding="ascii") as file:
                yield from parse(file.read())
        except FileNotFoundError:
            continue  # a kernel without IPv6


def _inodes(pid: int) -> Set[int]:
    found = set()
    folder = "/proc/{:d}/fd".format(pid)
    for name in os.listdir(folder):
        try:
            match = _SOCKET.match(os.readlink(os.path.join(folder, name)))
        except FileNotFoundError:
            continue
        if match is not None:
            found.add(int(match.group(1)))
    return found


def _end(text: str) -> Tuple[str, int]:
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
