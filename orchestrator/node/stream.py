"""Send at full speed to a listener of orch on another node (`listen.py`), for a moment.

How much arrived is what the peer's kernel acknowledged, as counted by this one (tcp_info, tcp(7)). So data
in buffers is not counted, the start can be left out, and nothing is waited for at the end: on a slow link
the peer's own reply would come seconds later.
"""

from __future__ import annotations

import errno
import selectors
import socket
import struct
import time
from typing import Any, Dict, List, NamedTuple, Tuple

_BUFFER = memoryview(bytes(1 << 20))
# struct tcp_info of linux/tcp.h: probes (3), snd_mss (16), unacked (24), rtt in microseconds (68),
# total_retrans (100), and since Linux 4.1 bytes_acked (120)
_INFO = struct.Struct("=3xB12xI4xI40xI28xI16xQ")
_ABORT = struct.pack("ii", 1, 0)  # struct linger: close with a reset, and discard what is unsent


class Info(NamedTuple):
    """What the kernel knows of a connection: bytes of a segment, segments, seconds, segments, bytes.

    `unanswered` are segments, and probes of the peer's window, that are on their way or lost: none if the
    peer has no room for more.
    """

    mss: int
    unanswered: int
    round_trip: float
    retransmits: int
    acknowledged: int


def info(connection: socket.socket) -> Info:
    """Return what the kernel knows of a connection. Raises OSError if it is too old for that."""
    raw = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
    if len(raw) < _INFO.size:
        raise OSError(errno.ENOPROTOOPT, "the kernel does not count acknowledged bytes")
    probes, mss, segments, microseconds, retransmits, acknowledged = _INFO.unpack(raw)
    return Info(mss, segments + probes, microseconds / 1e6, retransmits, acknowledged)


def abort(connection: socket.socket) -> None:
    """Close a connection with a reset, and discard what is unsent."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    connection.close()


def stream(
    limit: float,
    target: Tuple[str, int],
    ask: str,
    connect_time: float,
    warm_up: float,
    seconds: float,
    streams: int,
) -> Dict[str, Any]:
    """Send for `warm_up` and then `seconds` to `target`, over some connections at once.

    Returns {"bytes", "seconds", "busy"} of the time after the warm-up: "busy" is the share of it in which
    this process ran or waited for a CPU: near 1, that was the limit and not the network. Raises OSError if
    it cannot connect, or is cut off.
    """
    connections: List[socket.socket] = []
    try:
        for _ in range(streams):
            address, port = target
            connections.append(socket.create_connection((address, port), timeout=connect_time))
        for connection in connections:
            connection.sendall("orch {} -\n".format(ask).encode())
            connection.setblocking(False)
        began = time.monotonic()
        _send_until(began + warm_up, connections)
        before = _sample(connections)
        _send_until(began + warm_up + seconds, connections)
        after = _sample(connections)
    finally:
        for connection in connections:
            abort(connection)
    taken, busy, acknowledged = (new - old for new, old in zip(after, before))
    return {"bytes": acknowledged, "seconds": taken, "busy": min(1.0, busy / taken)}


def _sample(connections: List[socket.socket]) -> Tuple[float, float, int]:
    """Return the time, the seconds that this process was busy, and the bytes that have arrived."""
    acknowledged = sum(info(connection).acknowledged for connection in connections)
    return time.monotonic(), _busy(), acknowledged


def _busy() -> float:
    """Return the seconds that this process has run, and has waited for a CPU if the kernel counts that."""
    try:
        with open("/proc/self/schedstat", encoding="ascii") as file:
            running, waiting, _ = file.read().split()
        return (int(running) + int(waiting)) / 1e9
    except (OSError, ValueError):
        return time.process_time()


def _send_until(deadline: float, connections: List[socket.socket]) -> None:
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_WRITE)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            for key, _ in selector.select(left):
                try:
                    key.fileobj.send(_BUFFER)  # type: ignore[union-attr]
                except BlockingIOError:
                    pass
