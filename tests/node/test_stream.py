"""Sending to listeners: how fast it is, and what becomes of large amounts."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from orchestrator.node import path
from orchestrator.node.tasks import Task

from .conftest import AgentProcess

ANSWER = "xyz"
MIB = 1 << 20


def result(task: Task) -> dict[str, Any]:
    """Return the answer of a task that ends by itself."""
    deadline = time.monotonic() + 40
    answer = None
    while not task.ended:
        assert time.monotonic() < deadline
        answer = task.step() or answer
        time.sleep(0.002)
    assert answer is not None
    return answer


@pytest.fixture
def port(agent: AgentProcess) -> int:
    """The port of a listener of orch for `abc`."""
    wanted = [["127.0.0.1", 0]]
    answer = agent.ask("listen", limit=60, addresses=wanted, ask="abc", answer=ANSWER)
    found: int = answer["ok"]["ports"][0]
    return found


@contextmanager
def peer(words: bytes | None, read: bool) -> Iterator[int]:
    """Another service: it may send `words` to each guest at once, and may read what it gets."""
    listener = socket.create_server(("127.0.0.1", 0))
    guests: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                guest, _ = listener.accept()
            except OSError:
                return
            guests.append(guest)
            if words is not None:
                guest.sendall(words)
            if read:
                threading.Thread(target=drain, args=[guest], daemon=True).start()

    def drain(guest: socket.socket) -> None:
        try:
            while guest.recv(MIB):
                pass
        except OSError:
            pass  # closed by its peer, or at the end of the test

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for guest in guests:
            guest.close()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found: int = listener.getsockname()[1]
    return found


def stream(port: int, **more: Any) -> dict[str, Any]:
    arguments = {
        "target": ["127.0.0.1", port], "ask": "abc", "connect_time": 2.0, "warm_up": 0.05,
        "seconds": 0.2, "streams": 2,
    }  # fmt: skip
    return result(Task("stream", 10, **{**arguments, **more}))


def send(*targets: tuple[int, str], size: int = MIB, limit: float = 20) -> list[dict[str, Any]]:
    wanted = [["127.0.0.1", port, answer] for port, answer in targets]
    found: list[dict[str, Any]] = result(Task("path", limit, targets=wanted, ask="abc", size=size))[
        "ok"
    ]
    return found


@pytest.mark.parametrize("streams", [1, 3])
def test_stream_measures_what_arrived(port: int, streams: int) -> None:
    flow = stream(port, streams=streams)["ok"]
    assert flow["bytes"] > MIB
    assert 0.1 < flow["seconds"] < 5
    assert 0 < flow["busy"] <= 1


def test_stream_to_peer_that_does_not_read_ends_in_time() -> None:
    with peer(None, read=False) as port:
        flow = stream(port, warm_up=0.2)["ok"]
    assert (flow["bytes"], flow["seconds"] < 5) == (0, True)
    assert flow["busy"] < 0.9  # the peer was slow


def test_stream_to_closed_port_is_refused() -> None:
    assert stream(closed_port())["error"] == "Connection refused"


def test_stream_to_peer_that_hangs_up_is_an_error(port: int) -> None:
    assert "error" in stream(port, ask="wrong", seconds=3.0)


def test_path_to_several_targets_at_once_is_ok(port: int) -> None:
    outcomes = send(*[(port, ANSWER)] * 5)
    assert [outcome["result"] for outcome in outcomes] == ["ok"] * 5
    assert all(outcome["mss"] > 1000 for outcome in outcomes)


def test_path_has_an_outcome_for_each_target(port: int) -> None:
    outcomes = send((port, ANSWER), (closed_port(), ANSWER), (port, "another"))
    assert [outcome["result"] for outcome in outcomes] == ["ok", "failed", "foreign"]
    assert outcomes[1]["text"] == "Connection refused"


@pytest.mark.parametrize(
    "words", [b"SSH-2.0-OpenSSH_9.2\r\n", b"orch other 127.0.0.1 0 0.0\n", b"\0" * 5000]
)
def test_path_to_another_service_is_foreign(words: bytes) -> None:
    with peer(words, read=True) as port:
        [outcome] = send((port, ANSWER))
    assert outcome["result"] in ("foreign", "failed")


def test_path_to_service_without_receipt_is_foreign(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(path, "_DELIVERY_TIMEOUT", 0.2)
    with peer(None, read=True) as port:
        [outcome] = send((port, ANSWER))
    assert (outcome["result"], outcome["text"]) == ("foreign", "no receipt")


def test_path_to_peer_that_stops_reading_is_no_hole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(path, "_DELIVERY_TIMEOUT", 0.2)
    began = time.monotonic()
    with peer(None, read=False) as port:
        [outcome] = send((port, ANSWER), size=64 * MIB, limit=3)
    # It depends on how much its kernel buffers, and whether that drops the rest.
    assert outcome["result"] in ("late", "slow", "stalled")
    assert time.monotonic() - began < 10


def test_path_without_targets_is_empty() -> None:
    assert send() == []
