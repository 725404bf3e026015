"""Listen on addresses of this node for peers that know what to ask, and tell them what arrived.

A peer sends the line `orch ASK N` and N bytes after it, or, N being `-`, bytes until it shuts down
writing. The listener throws them away and replies `orch ANSWER SOURCE BYTES SECONDS`: the peer's address as
it is seen from here, how many bytes came, and how long from the first to the last. Whoever does not know
ASK is told nothing, and nobody is waited for long.
"""

from __future__ import annotations

import errno
import selectors
import socket
import time
from typing import Any, Dict, List, Optional, Tuple, Union

from .tasks import Tell

_MOST = 256  # guests at once; more wait in the kernel's queue
_HELLO_TIME = 5.0  # seconds that a guest has for its first line
_GUEST_TIME = 30.0  # and for everything after it
_LONGEST_HELLO = 200
_PIECE = bytearray(1 << 20)


def listen(
    tell: Tell, limit: float, addresses: List[Tuple[str, int]], ask: str, answer: str
) -> None:
    """Listen on `addresses` (port 0: a free one); tell {"ports": [...]}, and serve until the limit.

    Instead of a port there is {"error", "errno"} where an address cannot be listened on.
    """
    deadline = time.monotonic() + limit
    ports: List[Union[int, Dict[str, Any]]] = []
    listeners = []
    for address, port in addresses:
        try:
            listener = _open(address, port)
        except OSError as error:
            ports.append({"error": error.strerror or str(error), "errno": error.errno})
        else:
            listeners.append(listener)
            ports.append(listener.getsockname()[1])
    tell({"ports": ports})
    if listeners:
        _serve(listeners, ask.encode(), answer, deadline)


def _open(address: str, port: int) -> socket.socket:
    family, kind, protocol, _, target = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[
        0
    ]
    listener = socket.socket(family, kind, protocol)
    try:
        # As torch's store does: what an ended run left in TIME_WAIT is no obstacle.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(target)
        listener.listen(4096)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


class _Guest:
    """One connection: its first line, its payload, the reply."""

    def __init__(self, connection: socket.socket, source: str) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.deadline = time.monotonic() + _HELLO_TIME
        self._source = source
        self._hello = b""
        self._expected: Optional[float] = None  # bytes of payload, not known before the first line
        self._received = 0
        self._first = self._last = 0.0

    def hear(self, ask: bytes, answer: str) -> bool:
        """Take in what has come; return whether there is more to wait for."""
        try:
            ended = self._receive(ask) if self._expected is None else self._discard()
            if self._expected is None:
                return not ended
            if not ended and self._received < self._expected:
                return True
            reply = "orch {} {} {:d} {:.9f}\n".format(
                answer, self._source, self._received, self._last - self._first
            )
            self.connection.send(reply.encode())
        except BlockingIOError:
            return True
        except OSError:
            pass  # it has gone, and there is nobody left to tell
        return False

    def _receive(self, ask: bytes) -> bool:
        """Take in some of the first line; return whether that was the end of the conversation."""
        data = self.connection.recv(_LONGEST_HELLO)
        self._hello += data
        line, newline, rest = self._hello.partition(b"\n")
        if not newline:
            return not data or len(line) > _LONGEST_HELLO
        words = line.split(b" ")
        # ASK is 128 random bits that live for seconds: there is no time to learn it from this one's.
        if len(words) != 3 or words[:2] != [b"orch", ask]:
            return True
        if words[2] == b"-":
            self._expected = float("inf")
        elif words[2].isdigit():
            self._expected = float(words[2])
        else:
            return True
        self.deadline = time.monotonic() + _GUEST_TIME
        self._count(len(rest))
        return False

    def _discard(self) -> bool:
        """Throw away some payload; return whether that was the end of it."""
        # With MSG_TRUNC the kernel does not even copy it here (tcp(7)).
        count = self.connection.recv_into(_PIECE, 0, socket.MSG_TRUNC)
        self._count(count)
        return count == 0

    def _count(self, count: int) -> None:
        if count:
            self._last = time.monotonic()
            self._first = self._last if self._received == 0 else self._first
            self._received += count


def _serve(listeners: List[socket.socket], ask: bytes, answer: str, deadline: float) -> None:
    selector = selectors.DefaultSelector()
    guests: Dict[socket.socket, _Guest] = {}
    welcoming = False

    def leave(guest: _Guest) -> None:
        selector.unregister(guest.connection)
        guest.connection.close()
        del guests[guest.connection]

    while time.monotonic() < deadline:
        if welcoming != (len(guests) < _MOST):
            welcoming = not welcoming
            for listener in listeners:
                if welcoming:
                    selector.register(listener, selectors.EVENT_READ)
                else:
                    selector.unregister(listener)
        until = min([deadline, *(guest.deadline for guest in guests.values())])
        for key, _ in selector.select(max(0.0, until - time.monotonic())):
            guest = key.data
            if guest is None:
                guest = _accept(key.fileobj)  # type: ignore[arg-type]
                if guest is not None:
                    guests[guest.connection] = guest
                    selector.register(guest.connection, selectors.EVENT_READ, guest)
            elif not guest.hear(ask, answer):
                leave(guest)
        now = time.monotonic()
        for guest in [guest for guest in guests.values() if guest.deadline <= now]:
            leave(guest)


def _accept(listener: socket.socket) -> Optional[_Guest]:
    try:
        connection, source = listener.accept()
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        return None  # it has gone again
    return _Guest(connection, source[0])
