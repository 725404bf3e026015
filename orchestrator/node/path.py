"""How large a packet gets through to listeners of orch on other nodes (`listen.py`).

A path that silently drops large packets lets every small exchange pass, and stalls whatever sends much. So
send much. What stalls is sent again in small segments (TCP_MAXSEG): if that passes, the size is to blame,
and a search finds the largest that passes.

The search is over segments of TCP, not datagrams of UDP with DF set: TCP sets DF too, its acknowledgements
are the echo, the listener is there already, and a firewall that lets NCCL pass lets this pass.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from typing import Any, Dict, List, Optional, Sequence, Tuple

from .stream import AT_ONCE, Info, info
from .tasks import Tell, deadline

Target = Tuple[str, int, str]  # address, port, ANSWER

SMALL = 536  # TCP_MAXSEG that every path must carry: packets of 576 bytes (RFC 791)
# Seconds without progress that are a stall: three retransmissions on a near network.
_DELIVERY_TIMEOUT = 1.5
_SEARCH_TIMEOUT = 0.8  # two will do where it is known that large ones vanish
_CONNECT_TIME = 3.0
_TICK = 0.05  # seconds between looks at the progress, of which the kernel sends no word
_PIECE = memoryview(bytes(1 << 16))
_OPTIONS = 40  # bytes of TCP's options, at most
_MUCH = 1 << 17  # bytes: nothing that only small packets carry through brings that much
_SEARCH_SIZE = 1 << 15
_RUNGS = 32  # sizes that are tried at once: every round of the search costs one patience
_LONGEST_REPLY = 200


def path(tell: Tell, limit: float, targets: List[Target], ask: str, size: int) -> None:
    """Send `size` bytes to each of `targets`, all at once; tell one outcome each, in their order.

    It is {"result": WORD, "mss": bytes or null, "retransmits": segments, "text": null or why}:

    ok       all of it arrived
    hole     it stalls, twice, and passes in small segments; "largest" is the largest TCP_MAXSEG that
             passes, of the headers only TCP's options counted in
    unsteady it stalled once, and not again
    slow     it moves, but there was no time to wait for all of it
    stalled  it stalls in small segments as well
    failed   no connection, or it broke off: "text" says how
    foreign  it arrived, but at another service
    late     there was no time left to see
    """
    end = deadline(limit)
    first = [(target, None) for target in targets]
    outcomes = _deliver(first, ask, size, _DELIVERY_TIMEOUT, end - limit / 2)
    stalled = [i for i, outcome in enumerate(outcomes) if outcome["result"] == "stalled"]
    wanted = [(targets[i], maxseg) for i in stalled for maxseg in (None, SMALL)]
    again = _deliver(wanted, ask, size, _DELIVERY_TIMEOUT, end)
    for position, index in enumerate(stalled):
        as_it_is, small = again[2 * position : 2 * position + 2]
        if as_it_is["result"] in ("ok", "slow"):
            outcomes[index]["result"] = "unsteady"
        elif small["result"] in ("ok", "slow"):
            outcomes[index]["result"] = "hole"
    holes = [i for i in stalled if outcomes[i]["result"] == "hole"]
    if holes:
        # One is searched: where several stall from here, it is for the same reason as a rule.
        too_large = outcomes[holes[0]]["mss"] + _OPTIONS
        largest = _search(targets[holes[0]], ask, too_large, end)
        for index in holes:
            outcomes[index]["largest"] = largest
    tell(outcomes)


def _search(target: Target, ask: str, too_large: int, deadline: float) -> int:
    """Return the largest TCP_MAXSEG that passes."""
    low, high = SMALL, too_large
    while high - low > 1 and time.monotonic() + _SEARCH_TIMEOUT < deadline:
        step = max(1, (high - low) // _RUNGS)
        rungs = list(range(low + step, high, step))
        wanted = [(target, rung) for rung in rungs]
        outcomes = _deliver(wanted, ask, _SEARCH_SIZE, _SEARCH_TIMEOUT, deadline)
        passed = [outcome["result"] == "ok" for outcome in outcomes]
        high = rungs[passed.index(False)] if False in passed else high
        low = max([low] + [rung for rung, good in zip(rungs, passed) if good and rung < high])
    return low


def _deliver(
    wanted: Sequence[Tuple[Target, Optional[int]]],
    ask: str,
    size: int,
    patience: float,
    deadline: float,
) -> List[Dict[str, Any]]:
    """Send `size` bytes to each (target, TCP_MAXSEG) at once; return what became of each."""
    deliveries = [_Delivery(target, maxseg, ask, size, patience) for target, maxseg in wanted]
    with selectors.DefaultSelector() as selector:
        for delivery in deliveries:
            delivery.begin(selector)
        while any(delivery.result is None for delivery in deliveries):
            now = time.monotonic()
            if now >= deadline:
                break
            ready = {
                key.data: events for key, events in selector.select(min(_TICK, deadline - now))
            }
            for delivery in deliveries:
                if delivery.result is None:
                    delivery.step(selector, bool(ready.get(delivery)))
        for delivery in deliveries:
            delivery.close()
    return [delivery.outcome() for delivery in deliveries]


class _Delivery:
    """One connection: made, filled, and its receipt read."""

    def __init__(
        self, target: Target, maxseg: Optional[int], ask: str, size: int, patience: float
    ) -> None:
        self._address, self._port, answer = target
        self._maxseg = maxseg
        self._hello = "orch {} {:d}\n".format(ask, size).encode()
        self._receipt = "orch {} ".format(answer).encode()
        self._left = size
        self._all = len(self._hello) + size
        self._patience = patience
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
            family, kind, protocol, _, address = socket.getaddrinfo(
                self._address, self._port, type=socket.SOCK_STREAM
            )[0]
            self._socket = socket.socket(family, kind, protocol)
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
        """Go on as far as it goes; `ready` says whether the kernel has news."""
        assert self._socket is not None
        try:
            if ready:
                self._go_on(selector, self._socket)
            if self.result is None:
                self._watch(self._socket)
        except OSError as error:
            self._end("failed", error.strerror or str(error))
        if self.result is not None:
            selector.unregister(self._socket)

    def _go_on(self, selector: selectors.BaseSelector, connection: socket.socket) -> None:
        if not self._connected:
            code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
            self._connected, self._moved = True, time.monotonic()
            connection.send(self._hello)
        self._hear(connection)
        try:
            while self._left and self.result is None:
                self._left -= connection.send(_PIECE[: self._left])
            selector.modify(connection, selectors.EVENT_READ, self)
        except BlockingIOError:
            pass

    def _hear(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(_LONGEST_REPLY)
        except BlockingIOError:
            return
        self._heard += data
        known = self._heard[: len(self._receipt)]
        if not self._receipt.startswith(known) or (not data and known != self._receipt):
            self._end("foreign")
        elif known == self._receipt:
            self._note(connection)
            self._end("ok")

    def _watch(self, connection: socket.socket) -> None:
        """See whether it moves."""
        now = time.monotonic()
        if not self._connected:
            if now - self._began > _CONNECT_TIME:
                self._end("failed", "no answer to the attempt to connect")
            return
        known = self._note(connection)
        if now - self._moved > self._patience:
            if self._progress >= self._all:
                self._end("foreign", "no receipt")
            elif known.unanswered:  # else it is the peer that does not take more just now
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
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            self._socket.close()

    def outcome(self) -> Dict[str, Any]:
        return {
            "result": self.result or ("slow" if self._progress > _MUCH else "late"),
            "text": self._text,
            "mss": self._mss,
            "retransmits": self._retransmits,
        }
