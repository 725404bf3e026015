"""The listener replies to peers that know the secret what arrived, and to no others."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orchestrator.node import listen
from orchestrator.node.tasks import Task

from .conftest import AgentProcess

Request = Callable[..., Any]


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A listener for `abc` that answers `xyz`, with a short timeout."""
    monkeypatch.setattr(listen, "_HELLO_TIMEOUT", 0.5)
    task = Task("listen", 30, addresses=[["127.0.0.1", 0]], ask="abc", answer="xyz")
    yield ports(task)[0]
    task.end()
    while not task.ended:
        task.step()
        time.sleep(0.002)


def ports(task: Task) -> list[Any]:
    deadline = time.monotonic() + 20
    while (answer := task.step()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    found: list[Any] = answer["ok"]["ports"]
    return found


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def ask(port: int, *pieces: bytes) -> bytes:
    """Send `pieces`, then nothing more; return all that comes back."""
    with connect(port) as connection:
        for piece in pieces:
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
        return connection.makefile("rb").read()


def heard(connection: socket.socket) -> bytes:
    """Return what comes back before the connection is closed, or reset as it is with unread data."""
    try:
        return connection.recv(100)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize(
    ("pieces", "count"),
    [
        ((b"orch abc 0\n",), 0),
        ((b"orch a", b"bc 5\nhe", b"llo"), 5),
        ((b"orch abc -\n",), 0),
        ((b"orch abc -\n", b"x" * 3_000_000), 3_000_000),
        ((b"orch abc 3000000\n" + b"x" * 3_000_000,), 3_000_000),
        ((b"orch abc 9\nfive!",), 5),  # missing bytes are not counted
    ],
)
def test_reply_has_the_peers_address_and_what_arrived(
    port: int, pieces: tuple[bytes, ...], count: int
) -> None:
    word, answer, source, received, seconds = ask(port, *pieces).split()
    assert (word, answer, source, int(received)) == (b"orch", b"xyz", b"127.0.0.1", count)
    assert 0 <= float(seconds) < 20


def test_counted_payload_needs_no_shutdown(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(b"orch abc 2\nhi")
        assert connection.makefile("rb").readline().startswith(b"orch xyz 127.0.0.1 2 ")


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"\n",
        b"orch abd 0\n",
        b"orch abcd 0\n",
        b"orch abc\n",
        b"orch abc -5\n",
        b"orch abc 0 0\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\xff\n",
        b"orch abc 0",
    ],
)
def test_peer_without_the_secret_gets_no_reply(port: int, words: bytes) -> None:
    assert ask(port, words) == b""


def test_hello_without_end_is_dropped(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(b"x" * 10_000)
        assert heard(connection) == b""


def test_silent_and_slow_peers_are_dropped_while_others_are_served(port: int) -> None:
    with connect(port) as silent, connect(port) as dripping:
        stop = threading.Event()

        def drip() -> None:
            while not stop.wait(0.1):
                try:
                    dripping.send(b"o")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        assert ask(port, b"orch abc 0\n").startswith(b"orch xyz ")
        try:
            assert heard(silent) == heard(dripping) == b""
        finally:
            stop.set()
            thread.join()


def test_more_guests_than_the_maximum_are_all_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listen, "_MAX_GUESTS", 4)
    task = Task("listen", 30, addresses=[["127.0.0.1", 0]], ask="abc", answer="xyz")
    guests = [connect(ports(task)[0])]
    guests += [connect(guests[0].getpeername()[1]) for _ in range(11)]
    for guest in guests:
        guest.sendall(b"orch abc 0\n")
    assert all(guest.makefile("rb").readline().startswith(b"orch xyz") for guest in guests)
    for guest in guests:
        guest.close()
    task.end()


def test_listen_on_unusable_address_is_an_error_of_that_address(
    agent: AgentProcess,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = [["127.0.0.1", taken.getsockname()[1]], ["198.18.99.99", 0], ["127.0.0.1", 0]]
        answer = agent.ask("listen", limit=20, addresses=wanted, ask="a", answer="b")["ok"]
    busy, foreign, port = answer["ports"]
    assert busy == {"error": "Address already in use", "errno": errno.EADDRINUSE}
    assert foreign["errno"] == errno.EADDRNOTAVAIL
    assert ask(port, b"orch a 0\n").startswith(b"orch b ")


def test_ended_listener_has_released_its_port(agent: AgentProcess) -> None:
    wanted = [["127.0.0.1", 0]]
    answer = agent.ask("listen", limit=20, addresses=wanted, ask="a", answer="b")
    port = answer["ok"]["ports"][0]
    assert ask(port, b"orch a 0\n").startswith(b"orch b ")
    assert agent.ask("end", task=answer["id"]) == {"id": 2, "ok": None}
    with pytest.raises(ConnectionRefusedError):
        connect(port)


def test_listener_ends_with_the_agent(agent: AgentProcess) -> None:
    wanted = [["127.0.0.1", 0]]
    port = agent.ask("listen", limit=60, addresses=wanted, ask="a", answer="b")["ok"]["ports"][0]
    agent.process.kill()
    agent.process.wait(10)
    deadline = time.monotonic() + 10
    while True:
        try:
            connect(port).close()
        except ConnectionRefusedError:
            return
        assert time.monotonic() < deadline
        time.sleep(0.01)
