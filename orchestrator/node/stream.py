"""Send as fast as it goes to a listener of orch on another node (`listen.py`), for a moment.

How much arrived is what the peer's kernel acknowledged, as our own kernel counts it (tcp_info, tcp(7)).
So what stands in buffers is not counted, the start can be left out, and at the end nothing is waited for:
on a slow link the peer's own word would come seconds later.
"""

from __future__ import annotations

import errno
import selectors
import socket
import struct
import time
from typing import List, NamedTuple, Tuple

from .tasks import Tell

_PIECE = memoryview(bytes(1 << 20))
# struct tcp_info of linux/tcp.h: probes (3), snd_mss (16), unacked (24), total_retrans (100), and since
# Linux 4.1 bytes_acked (120)
_INFO = struct.Struct("=3xB12xI4xI72xI16xQ")
AT_ONCE = struct.pack("ii", 1, 0)  # struct linger: close with a reset, and forget what is unsent


class Info(NamedTuple):
    """What the kernel knows of a connection: bytes of a segment, segments, segments, bytes.

    `unanswered` segments, and probes of the peer's window, are on their way or lost: none when it is the
    peer that has no room for more.
    """

    mss: int
    unanswered: int
    retransmits: int
    acknowledged: int


def info(connection: socket.socket) -> Info:
    """Return what the kernel knows of a connection. Raises OSError where it does not tell."""
    raw = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
    if len(raw) < _INFO.size:
        raise OSError(errno.ENOPROTOOPT, "the kernel does not count acknowledged bytes")
    probes, mss, segments, retransmits, acknowledged = _INFO.unpack(raw)
    return Info(mss, segments + probes, retransmits, acknowledged)


def stream(
    tell: Tell,
    limit: float,
    target: Tuple[str, int],
    ask: str,
    connect_time: float,
    warm_up: float,
    seconds: float,
    streams: int,
) -> None:
    """Send for `warm_up` and then `seconds` to `target`, over some connections at once.

    Tell {"bytes", "seconds", "busy"} of the time after the warm-up: "busy" is the share of it in which this
    process ran or waited for a CPU: near 1, that was the limit and not the network. Raises OSError when it
    cannot connect, or is cut off.
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
        before = _look(connections)
        _send_until(began + warm_up + seconds, connections)
        after = _look(connections)
    finally:
        for connection in connections:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            connection.close()
    taken = after.time - before.time
    tell(
        {
            "bytes": after.acknowledged - before.acknowledged,
            "seconds": taken,
            "busy": min(1.0, (after.busy - before.busy) / taken),
        }
    )


class _Look(NamedTuple):
    """All connections at one moment."""

    time: float
    busy: float
    acknowledged: int


def _look(connections: List[socket.socket]) -> _Look:
    acknowledged = sum(info(connection).acknowledged for connection in connections)
    return _Look(time.monotonic(), _busy(), acknowledged)


def _busy() -> float:
    """Return the seconds that this process has run, and has waited for a CPU where the kernel tells."""
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
                    key.fileobj.send(_PIECE)  # type: ignore[union-attr]
                except BlockingIOError:
                    pass
