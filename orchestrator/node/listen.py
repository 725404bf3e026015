"""Listen on addresses of this node for peers that know what to ask, and reply what arrived.

A peer sends the line `orch ASK N` and N bytes after it, or, N being `-`, bytes until it shuts down writing.
The listener discards them and replies `orch ANSWER SOURCE BYTES SECONDS`: the peer's address as seen from
here, how many bytes arrived, and the time from the first to the last. A peer that does not know ASK gets no
reply, and every peer has a timeout.
"""

from __future__ import annotations

import errno
import selectors
import socket
import time
from typing import Any, Dict, Iterator, List, Optional, Tuple, Union

from . import network

_MAX_GUESTS = 256  # at once; more wait in the kernel's queue
_BACKLOG = 4096
_HELLO_TIMEOUT = 5.0  # seconds that a guest has for its first line
_PAYLOAD_TIMEOUT = 30.0  # and for everything after it
_MAX_HELLO = 200  # bytes
_BUFFER = bytearray(1 << 20)


def listen(
    limit: float, addresses: List[Tuple[str, int]], ask: str, answer: str
) -> Iterator[Dict[str, Any]]:
    """Listen on `addresses` (port 0: a free one); yield {"ports": [...]}, and serve until the limit.

    In place of a port there is {"error", "errno"} if an address cannot be listened on.
    """
    deadline = time.monotonic() + limit
    ports: List[Union[int, Dict[str, Any]]] = []
    listeners = []
    for address, port in addresses:
        try:
            listener = network.listener(address, port, _BACKLOG)
        except OSError as error:
            ports.append({"error": error.strerror or str(error), "errno": error.errno})
        else:
            listener.setblocking(False)
            listeners.append(listener)
            ports.append(listener.getsockname()[1])
    yield {"ports": ports}
    if listeners:
        _serve(listeners, ask.encode(), answer, deadline)


class _Guest:
    """One connection: its first line, its payload, the reply."""

    def __init__(self, connection: socket.socket, source: str) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.deadline = time.monotonic() + _HELLO_TIMEOUT
        self._source = source
        self._hello = b""
        self._expected: Optional[float] = None  # bytes of payload, unknown before the first line
        self._received = 0
        self._first = self._last = 0.0

    def receive(self, ask: bytes, answer: str) -> bool:
        """Receive what has arrived; return whether there is more to wait for."""
        try:
            ended = self._receive_hello(ask) if self._expected is None else self._discard()
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
            pass  # the peer has gone
        return False

    def _receive_hello(self, ask: bytes) -> bool:
        """Receive some of the first line; return whether the conversation is over."""
        data = self.connection.recv(_MAX_HELLO)
        self._hello += data
        line, newline, rest = self._hello.partition(b"\n")
        if not newline:
            return not data or len(line) > _MAX_HELLO
        words = line.split(b" ")
        # ASK is 128 random bits that live for seconds: too short to learn it from how long this takes.
        if (
            len(words) != 3
            or words[:2] != [b"orch", ask]
            or not (words[2] == b"-" or words[2].isdigit())
        ):
            return True
        self._expected = float("inf") if words[2] == b"-" else float(words[2])
        self.deadline = time.monotonic() + _PAYLOAD_TIMEOUT
        self._count(len(rest))
        return False

    def _discard(self) -> bool:
        """Discard some payload; return whether that was the end of it."""
        # With MSG_TRUNC the kernel does not even copy it (tcp(7)).
        count = self.connection.recv_into(_BUFFER, 0, socket.MSG_TRUNC)
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
    accepting = False

    def drop(guest: _Guest) -> None:
        selector.unregister(guest.connection)
        guest.connection.close()
        del guests[guest.connection]

    while time.monotonic() < deadline:
        if accepting != (len(guests) < _MAX_GUESTS):
            accepting = not accepting
            for listener in listeners:
                if accepting:
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
            elif not guest.receive(ask, answer):
                drop(guest)
        now = time.monotonic()
        for guest in [guest for guest in guests.values() if guest.deadline <= now]:
            drop(guest)


def _accept(listener: socket.socket) -> Optional[_Guest]:
    try:
        connection, source = listener.accept()
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        return None  # the peer has gone again
    return _Guest(connection, source[0])
