"""How long the connections of processes take for a round trip, from the kernel (sock_diag(7))."""

from __future__ import annotations

import socket
import struct
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Tuple

from .probes import read

_SOCK_DIAG, _REQUEST_DUMP = 20, 0x301
_ERROR, _DONE = 2, 3
_INET_DIAG_INFO = 2
_ESTABLISHED = 1
_TIMEOUT = 1.0  # seconds
_MAX_MESSAGES = 64  # of up to 64 KiB
_HEADER = struct.Struct("=IHHII")  # nlmsghdr
_REQUEST = struct.Struct("=BBBBI48x")  # inet_diag_req_v2
_MESSAGE = struct.Struct("=BBBB HH16s16s 12x IIIII".replace(" ", ""))  # inet_diag_msg
_ATTRIBUTE = struct.Struct("=HH")
# Offsets in struct tcp_info of linux/tcp.h.
_RTT, _ACKED, _MIN_RTT = 68, 120, 148
_INFO_SIZE = 152


class Path(NamedTuple):
    """A connection: `rtt` is the smoothed round trip, `min_rtt` the least of some minutes, in seconds.

    `acked` are the bytes that the other end has acknowledged.
    """

    local: str
    remote: str
    ports: Tuple[int, int]
    inode: int
    rtt: float
    min_rtt: float
    acked: int


def paths(pids: List[int]) -> List[Dict[str, Any]]:
    """Return the connections of `pids` to other machines.

    Each is {"pid", "local", "remote" (addresses), "ports" (local and remote), "rtt", "min_rtt" (seconds),
    "acked" (bytes)}; none if the kernel does not show them.
    """
    owners: Dict[str, int] = {}
    for pid in pids:
        owners.update(dict.fromkeys(read.open_files("/", pid), pid))
    found = []
    for path in established():
        link = "socket:[{:d}]".format(path.inode)
        if link in owners and path.local != path.remote:
            found.append(
                {
                    "pid": owners[link], "local": path.local, "remote": path.remote,
                    "ports": list(path.ports),
                    "rtt": path.rtt, "min_rtt": path.min_rtt, "acked": path.acked,
                }
            )  # fmt: skip
    return found


def established() -> Iterator[Path]:
    """Yield the established TCP connections of this network namespace; none if they cannot be asked for."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            answer = b"".join(_dump(family))
        except OSError:
            continue  # a kernel without sock_diag, or a sandbox that forbids it
        yield from parse(answer)


def _dump(family: int) -> Iterable[bytes]:
    """Yield the kernel's messages about the established connections of an address family."""
    body = _REQUEST.pack(
        family, socket.IPPROTO_TCP, 1 << (_INET_DIAG_INFO - 1), 0, 1 << _ESTABLISHED
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as link:  # 4: NETLINK_SOCK_DIAG
        link.settimeout(_TIMEOUT)
        link.sendto(
            _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG, _REQUEST_DUMP, 1, 0) + body, (0, 0)
        )
        for _ in range(_MAX_MESSAGES):
            data = link.recv(1 << 16)
            yield data
            if any(kind in (_ERROR, _DONE) for kind, _ in _messages(data)):
                return


def _messages(data: bytes) -> Iterator[Any]:
    """Yield the type and the body of each netlink message."""
    position = 0
    while position + _HEADER.size <= len(data):
        length, kind = _HEADER.unpack_from(data, position)[:2]
        if length < _HEADER.size:
            return
        yield kind, data[position + _HEADER.size : position + length]
        position += (length + 3) & ~3


def parse(data: bytes) -> Iterator[Path]:
    """Yield the connections in the kernel's answer; those without times are left out."""
    for kind, body in _messages(data):
        if kind != _SOCK_DIAG or len(body) < _MESSAGE.size:
            continue
        fields = _MESSAGE.unpack_from(body)
        family, local, remote, inode = fields[0], fields[6], fields[7], fields[12]
        info = _attribute(body[_MESSAGE.size :], _INET_DIAG_INFO)
        if len(info) < _INFO_SIZE:
            continue
        rtt, min_rtt = (struct.unpack_from("=I", info, at)[0] for at in (_RTT, _MIN_RTT))
        (acked,) = struct.unpack_from("=Q", info, _ACKED)
        ports = socket.ntohs(fields[4]), socket.ntohs(fields[5])
        yield Path(
            _address(family, local), _address(family, remote), ports, inode, rtt / 1e6,
            min_rtt / 1e6, acked,
        )  # fmt: skip


def _attribute(data: bytes, wanted: int) -> bytes:
    position = 0
    while position + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, position)
        if length < _ATTRIBUTE.size:
            break
        if kind == wanted:
            return data[position + _ATTRIBUTE.size : position + length]
        position += (length + 3) & ~3
    return b""


def _address(family: int, packed: bytes) -> str:
    if family == socket.AF_INET:
        return socket.inet_ntop(family, packed[:4])
    text = socket.inet_ntop(socket.AF_INET6, packed)
    return text[7:] if text.startswith("::ffff:") else text
