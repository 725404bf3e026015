"""Connect to listeners of orch on other nodes (`listen.py`), many at once; report how each attempt ended.

What answers there may be another service: it is not trusted, not waited for long, and little of its answer
is kept.
"""

from __future__ import annotations

import collections
import errno
import os
import selectors
import socket
import struct
import time
from typing import Any, Deque, Dict, List, Optional, Tuple

from . import network
from .stream import info
from .tasks import deadline

Outcome = Dict[str, Any]

_RESULTS = {
    errno.ECONNREFUSED: "refused",
    errno.ETIMEDOUT: "timeout",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "no-route",
    errno.EACCES: "prohibited",
    errno.EPERM: "prohibited",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
}
_MAX_REPLY = 200  # bytes
_MAX_SAID = 60  # bytes that are kept of another service's answer
# How the kernel reports ICMP errors of a socket (ip(7)), by family: level, option, and the place of the
# sender's address in the structure.
_ERRORS = {
    socket.AF_INET: (socket.IPPROTO_IP, 11, slice(20, 24)),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 25, slice(24, 40)),
}
_NO_ROOM = {
    socket.AF_INET: errno.ENOBUFS,
    socket.AF_INET6: errno.EINVAL,
}  # ip_finish_output2 of Linux
_DISCARD_PORT = 9
_EXTENDED_ERROR = struct.Struct("=IBBBBII")  # errno, origin, type, code, padding, info, data


def probe(
    limit: float, targets: List[Tuple[str, int, str]], ask: str, patience: float, at_once: int = 64
) -> List[Outcome]:
    """Try each (address, port, ANSWER) of `targets`; return one outcome each, in their order.

    Connecting may take `patience` seconds, and the handshake as long again. An outcome is {"result":
    WORD, "seconds": until it was known, ...} with one of these words:

    ok           the listener answered: "source" is this node as seen from there; "seconds" is the round
                 trip as the kernel measured it
    refused, timeout, unreachable, no-route, prohibited, reset: as the kernel reports; if it was an ICMP
                 message, "icmp" is [type, code] and "by" its sender
    table-full   this node's kernel has no room for another neighbour, so nothing was ever sent
    closed, silent: the connection was accepted, and then nothing came
    foreign      another service, or the listener of another launch: "said" is the start of its answer
    error        something else: "text"

    "local" is this node's own address of the connection, if there is one.
    """
    end = deadline(limit)
    outcomes: List[Optional[Outcome]] = [None] * len(targets)
    waiting: Deque[int] = collections.deque(range(len(targets)))
    selector = selectors.DefaultSelector()
    attempts: Dict[int, _Attempt] = {}
    while True:
        while waiting and len(attempts) < at_once:
            index = waiting.popleft()
            attempts[index] = _Attempt(targets[index], ask, patience)
            outcomes[index] = attempts[index].begin(selector)
            if outcomes[index] is not None:
                attempts.pop(index).end(selector)
        if not attempts or time.monotonic() >= end:
            break
        until = min([end, *(attempt.deadline for attempt in attempts.values())])
        ready = {key.fd for key, _ in selector.select(max(0.0, until - time.monotonic()))}
        now = time.monotonic()
        if any(attempt.deadline <= now for attempt in attempts.values()):
            # What arrived in time is not late because this process waited for a processor.
            ready |= {key.fd for key, _ in selector.select(0)}
        for index, attempt in list(attempts.items()):
            if attempt.descriptor in ready:
                outcomes[index] = attempt.step(selector)
            elif attempt.deadline <= now:
                outcomes[index] = attempt.late()
            if outcomes[index] is not None:
                attempts.pop(index).end(selector)
    for attempt in attempts.values():
        attempt.end(selector)
    selector.close()
    skipped = {"result": "error", "seconds": limit, "text": "there was no time left to try it"}
    return [outcome or skipped for outcome in outcomes]


class _Attempt:
    """One connection: connect, ask, read the answer."""

    def __init__(self, target: Tuple[str, int, str], ask: str, patience: float) -> None:
        self._address, self._port, self._answer = target
        self._hello = "orch {} 0\n".format(ask).encode()
        self._patience = patience
        self._began = time.monotonic()
        self.deadline = self._began + patience
        self._socket: Optional[socket.socket] = None
        self._local: Optional[str] = None
        self._connected: Optional[float] = None  # the round trip's seconds
        self._heard = b""

    @property
    def descriptor(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def begin(self, selector: selectors.BaseSelector) -> Optional[Outcome]:
        """Start to connect; return the outcome if it is known at once."""
        try:
            self._socket, address = network.resolve(self._address, self._port)
            self._socket.setblocking(False)
            level, option, _ = _ERRORS[self._socket.family]
            self._socket.setsockopt(level, option, 1)
            code = self._socket.connect_ex(address)
            if code not in (0, errno.EINPROGRESS):
                return self._failed(code)
            self._local = self._socket.getsockname()[0]
        except (OSError, ValueError) as error:
            return self._outcome("error", text=str(error))
        selector.register(self._socket, selectors.EVENT_WRITE)
        return None

    def step(self, selector: selectors.BaseSelector) -> Optional[Outcome]:
        """Continue once the socket is ready; return the outcome when it is known."""
        assert self._socket is not None
        try:
            if self._connected is not None:
                return self._read_answer(self._socket)
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                return self._failed(code)
            self._connected = self._round_trip(self._socket)
            self.deadline = time.monotonic() + self._patience
            self._socket.send(self._hello)
            selector.modify(self._socket, selectors.EVENT_READ)
        except BlockingIOError:
            return None
        except OSError as error:
            return self._failed(error.errno)
        return None

    def late(self) -> Outcome:
        """Return the outcome of an attempt that is past its deadline."""
        if self._connected is not None:
            return self._outcome("silent")
        return self._outcome("table-full" if self._is_table_full() else "timeout")

    def _is_table_full(self) -> bool:
        """Return whether the kernel has no room for the address in its table of neighbours.

        TCP waits as if packets were lost. UDP reports it, to a socket that asks for errors.
        """
        try:
            datagram, target = network.resolve(self._address, _DISCARD_PORT, socket.SOCK_DGRAM)
        except OSError:
            return False
        with datagram:
            level, option, _ = _ERRORS[datagram.family]
            try:
                datagram.setsockopt(level, option, 1)
                datagram.setblocking(False)
                datagram.connect(target)
                datagram.send(b"")
            except OSError as error:
                return error.errno == _NO_ROOM[datagram.family]
        return False

    def end(self, selector: selectors.BaseSelector) -> None:
        """Close the socket."""
        if self._socket is not None:
            if self._socket.fileno() in selector.get_map():
                selector.unregister(self._socket)
            self._socket.close()

    def _read_answer(self, connection: socket.socket) -> Optional[Outcome]:
        data = connection.recv(_MAX_REPLY)
        self._heard += data
        if not self._heard:
            return self._outcome("closed")
        expected = "orch {} ".format(self._answer).encode()
        line, newline, _ = self._heard.partition(b"\n")
        words = line.decode("ascii", "replace").split(" ")
        is_ours = expected.startswith(self._heard[: len(expected)])
        if is_ours and newline and len(words) == 5:
            return self._outcome("ok", seconds=self._connected, source=words[2])
        if not is_ours or newline or not data or len(self._heard) > _MAX_REPLY:
            said = self._heard[:_MAX_SAID].decode("ascii", "backslashreplace")
            return self._outcome("foreign", said=said)
        return None

    def _round_trip(self, connection: socket.socket) -> float:
        """Return the seconds between SYN and its answer, as the kernel measured them if it has."""
        elapsed = time.monotonic() - self._began
        try:
            return info(connection).round_trip or elapsed
        except OSError:
            return elapsed

    def _failed(self, code: Optional[int]) -> Outcome:
        if code not in _RESULTS:
            return self._outcome("error", text=os.strerror(code) if code else "it failed")
        return self._outcome(_RESULTS[code], **self._icmp())

    def _icmp(self) -> Outcome:
        """Return the ICMP message that ended it, and its sender; nothing if it was none."""
        assert self._socket is not None
        level, option, place = _ERRORS[self._socket.family]
        try:
            _, extra, _, _ = self._socket.recvmsg(1, 512, socket.MSG_ERRQUEUE)
        except OSError:
            return {}  # none, or a kernel that does not keep them while it connects
        for found_level, found_option, data in extra:
            if (found_level, found_option) == (level, option) and len(data) >= place.stop:
                _, origin, kind, code, _, _, _ = _EXTENDED_ERROR.unpack_from(data)
                if origin in (2, 3):  # ICMP, ICMPv6
                    by = socket.inet_ntop(self._socket.family, data[place])
                    return {"icmp": [kind, code], "by": by}
        return {}

    def _outcome(self, result: str, **more: Any) -> Outcome:
        usual = {"seconds": time.monotonic() - self._began, "local": self._local}
        return dict(usual, result=result, **more)
