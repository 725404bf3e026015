"""How large a packet gets through to listeners of orch on other nodes (`listen.py`).

A path that silently drops large packets lets every small exchange pass, and stalls bulk transfers. So send
much data. What stalls is sent again in small segments (TCP_MAXSEG): if that passes, the size is the cause,
and a search finds the largest that passes.

The search uses segments of TCP, not datagrams of UDP with DF set: TCP sets DF too, its acknowledgements are
the echo, the listener is there already, and a firewall that lets NCCL pass lets this pass.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from typing import Any, Dict, List, Optional, Sequence, Tuple

from . import network
from .stream import Info, abort, info
from .tasks import deadline

Target = Tuple[str, int, str]  # address, port, ANSWER

_SMALL = 536  # TCP_MAXSEG that every path must carry: packets of 576 bytes (RFC 791)
# Seconds without progress that are a stall: three retransmissions on a near network.
_DELIVERY_TIMEOUT = 1.5
_SEARCH_TIMEOUT = 0.8  # two, once it is known that large packets are dropped
_CONNECT_TIMEOUT = 3.0
_POLL_INTERVAL = 0.05  # seconds between checks of the progress, which the kernel does not report
_BUFFER = memoryview(bytes(1 << 16))
_MAX_OPTIONS = 40  # bytes of TCP's options
_SLOW_BYTES = 1 << 17  # a path that drops large packets never delivers more
_SEARCH_BYTES = 1 << 15
_SEARCH_STEPS = 32  # sizes that are tried at once: every round of the search costs a timeout
_MAX_REPLY = 200  # bytes


def path(limit: float, targets: List[Target], ask: str, size: int) -> List[Dict[str, Any]]:
    """Send `size` bytes to each of `targets`, all at once; return one outcome each, in their order.

    It is {"result": WORD, "mss": bytes or null, "retransmits": segments, "text": null or why}:

    ok       all of it arrived
    hole     it stalls, twice, and passes in small segments; "largest" is the largest TCP_MAXSEG that
             passes, which includes TCP's options and no other header
    unsteady it stalled once, and not again
    slow     it makes progress, but there was no time to wait for all of it
    stalled  it stalls in small segments as well
    failed   no connection, or it broke off: "text" says how
    foreign  it arrived, but at another service
    late     there was no time left
    """
    end = deadline(limit)
    first = [(target, None) for target in targets]
    outcomes = _deliver(first, ask, size, _DELIVERY_TIMEOUT, end - limit / 2)
    stalled = [i for i, outcome in enumerate(outcomes) if outcome["result"] == "stalled"]
    wanted = [(targets[i], maxseg) for i in stalled for maxseg in (None, _SMALL)]
    again = _deliver(wanted, ask, size, _DELIVERY_TIMEOUT, end)
    for position, index in enumerate(stalled):
        as_it_is, small = again[2 * position : 2 * position + 2]
        if as_it_is["result"] in ("ok", "slow"):
            outcomes[index]["result"] = "unsteady"
        elif small["result"] in ("ok", "slow"):
            outcomes[index]["result"] = "hole"
    holes = [i for i in stalled if outcomes[i]["result"] == "hole"]
    if holes:
        # One is searched: if several stall from here, they usually have the same cause.
        too_large = outcomes[holes[0]]["mss"] + _MAX_OPTIONS
        largest = _search(targets[holes[0]], ask, too_large, end)
        for index in holes:
            outcomes[index]["largest"] = largest
    return outcomes


def _search(target: Target, ask: str, too_large: int, deadline: float) -> int:
    """Return the largest TCP_MAXSEG that passes."""
    low, high = _SMALL, too_large
    while high - low > 1 and time.monotonic() + _SEARCH_TIMEOUT < deadline:
        step = max(1, (high - low) // _SEARCH_STEPS)
        sizes = list(range(low + step, high, step))
        wanted = [(target, size) for size in sizes]
        outcomes = _deliver(wanted, ask, _SEARCH_BYTES, _SEARCH_TIMEOUT, deadline)
        passed = [outcome["result"] == "ok" for outcome in outcomes]
        high = sizes[passed.index(False)] if False in passed else high
        low = max([low] + [size for size, good in zip(sizes, passed) if good and size < high])
    return low


def _deliver(
    wanted: Sequence[Tuple[Target, Optional[int]]],
    ask: str,
    size: int,
    timeout: float,
    deadline: float,
) -> List[Dict[str, Any]]:
    """Send `size` bytes to each (target, TCP_MAXSEG) at once; return the outcome of each."""
    deliveries = [_Delivery(target, maxseg, ask, size, timeout) for target, maxseg in wanted]
    with selectors.DefaultSelector() as selector:
        for delivery in deliveries:
            delivery.begin(selector)
        while any(delivery.result is None for delivery in deliveries):
            now = time.monotonic()
            if now >= deadline:
                break
            events = selector.select(min(_POLL_INTERVAL, deadline - now))
            ready = {key.data for key, _ in events}
            for delivery in deliveries:
                if delivery.result is None:
                    delivery.step(selector, delivery in ready)
        for delivery in deliveries:
            delivery.close()
    return [delivery.outcome() for delivery in deliveries]


class _Delivery:
    """One connection: connect, send, read the receipt; `timeout` seconds without progress are a stall."""

    def __init__(
        self, target: Target, maxseg: Optional[int], ask: str, size: int, timeout: float
    ) -> None:
        self._address, self._port, answer = target
        self._maxseg = maxseg
        self._hello = "orch {} {:d}\n".format(ask, size).encode()
        self._receipt = "orch {} ".format(answer).encode()
        self._left = size
        self._all = len(self._hello) + size
        self._timeout = timeout
        self._heard = b""
        self._connected = False
        self._progress = 0
        self._began = self._moved = time.monotonic()
        self._socket: Optional[socket.socket] = None
        self._text: Optional[str] = None
        self._mss: Optional[int] = None
        self._retransmits = 0
        self.result: Optional[str] = None

    def begin(self, selector: selectors.BaseSelector) -> None:
        try:
            self._socket, address = network.resolve(self._address, self._port)
            self._socket.setblocking(False)
            if self._maxseg is not None:
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, self._maxseg)
            code = self._socket.connect_ex(address)
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, os.strerror(code))
            selector.register(self._socket, selectors.EVENT_READ | selectors.EVENT_WRITE, self)
        except OSError as error:
            self._end("failed", error.strerror or str(error))

    def step(self, selector: selectors.BaseSelector, ready: bool) -> None:
        """Send and receive what is possible; `ready` is whether the socket has an event."""
        assert self._socket is not None
        try:
            if ready:
                self._transfer(selector, self._socket)
            if self.result is None:
                self._check_progress(self._socket)
        except OSError as error:
            self._end("failed", error.strerror or str(error))
        if self.result is not None:
            selector.unregister(self._socket)

    def _transfer(self, selector: selectors.BaseSelector, connection: socket.socket) -> None:
        if not self._connected:
            code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
            self._connected, self._moved = True, time.monotonic()
            connection.send(self._hello)
        self._read_receipt(connection)
        try:
            while self._left and self.result is None:
                self._left -= connection.send(_BUFFER[: self._left])
            selector.modify(connection, selectors.EVENT_READ, self)
        except BlockingIOError:
            pass

    def _read_receipt(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(_MAX_REPLY)
        except BlockingIOError:
            return
        self._heard += data
        known = self._heard[: len(self._receipt)]
        if not self._receipt.startswith(known) or (not data and known != self._receipt):
            self._end("foreign")
        elif known == self._receipt:
            self._note(connection)
            self._end("ok")

    def _check_progress(self, connection: socket.socket) -> None:
        now = time.monotonic()
        if not self._connected:
            if now - self._began > _CONNECT_TIMEOUT:
                self._end("failed", "no answer to the attempt to connect")
            return
        known = self._note(connection)
        if now - self._moved > self._timeout:
            if self._progress >= self._all:
                self._end("foreign", "no receipt")
            elif known.unanswered:  # else the peer has no room for more at present
                self._end("stalled")

    def _note(self, connection: socket.socket) -> Info:
        known = info(connection)
        self._mss, self._retransmits = known.mss, known.retransmits
        if known.acknowledged > self._progress:
            self._progress, self._moved = known.acknowledged, time.monotonic()
        return known

    def _end(self, result: str, text: Optional[str] = None) -> None:
        self.result, self._text = result, text

    def close(self) -> None:
        if self._socket is not None:
            abort(self._socket)

    def outcome(self) -> Dict[str, Any]:
        return {
            "result": self.result or ("slow" if self._progress > _SLOW_BYTES else "late"),
            "text": self._text,
            "mss": self._mss,
            "retransmits": self._retransmits,
        }
