"""The prober: each attempt has a result in time, whatever answers or does not."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.node.probe import probe
from orchestrator.node.tasks import Task

Serve = Callable[[socket.socket], None]


def outcomes_of(
    *targets: tuple[str, int, str], timeout: float = 5.0, limit: float = 30.0, **more: Any
) -> list[dict[str, Any]]:
    return probe(limit, list(targets), "abc", timeout, **more)


@pytest.fixture
def listener() -> Iterator[int]:
    """The port of a listener of orch for `abc` that answers `xyz`."""
    task = Task("listen", 30, addresses=[["127.0.0.1", 0]], ask="abc", answer="xyz")
    deadline = time.monotonic() + 20
    while (answer := task.step()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    yield answer["ok"]["ports"][0]
    task.end()


@contextmanager
def service(serve: Serve) -> Iterator[int]:
    """The port of a service that runs `serve` for its one guest."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            with suppress(OSError), server.accept()[0] as connection:
                serve(connection)

        thread = threading.Thread(target=run)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_probe_of_listener_has_source_and_round_trip(listener: int) -> None:
    (outcome,) = outcomes_of(("127.0.0.1", listener, "xyz"))
    assert (outcome["result"], outcome["source"], outcome["local"]) == ("ok",) + ("127.0.0.1",) * 2
    assert 0 < outcome["seconds"] < 5


def test_probe_of_another_launchs_listener_is_foreign(listener: int) -> None:
    (outcome,) = outcomes_of(("127.0.0.1", listener, "other"))
    assert (outcome["result"], outcome["said"][:9]) == ("foreign", "orch xyz ")


def test_probe_of_closed_port_is_refused() -> None:
    (outcome,) = outcomes_of(("127.0.0.1", free_port(), "xyz"))
    assert outcome["result"] == "refused"


def test_probe_of_invalid_address_is_an_error() -> None:
    outcomes = outcomes_of(("a..b", 1, "x"), ("\0", 1, "x"))
    assert [outcome["result"] for outcome in outcomes] == ["error", "error"]


def test_probe_of_full_backlog_is_a_timeout() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        # One waits to be accepted; the kernel drops the SYN of all others.
        stack.enter_context(socket.create_connection(server.getsockname()))
        (outcome,) = outcomes_of((*server.getsockname(), "xyz"), timeout=0.3)
    assert outcome["result"] == "timeout"
    assert outcome["seconds"] >= 0.3


def wait(connection: socket.socket) -> None:
    """Send nothing until the guest is gone."""
    while connection.recv(1000):
        pass


def drip(connection: socket.socket) -> None:
    """Send what a listener of orch would, but very slowly."""
    for byte in b"orch xyz 127.0.0.1":
        connection.send(bytes([byte]))
        time.sleep(0.1)


def close(connection: socket.socket) -> None:
    connection.recv(1000)


def reset(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def sends(data: bytes) -> Serve:
    def serve(connection: socket.socket) -> None:
        connection.sendall(data)
        wait(connection)

    return serve


@pytest.mark.parametrize(
    ("serve", "result"),
    [
        (wait, "silent"),
        (drip, "silent"),
        (close, "closed"),
        (reset, "reset"),
        (sends(b"SSH-2.0-OpenSSH_9.2\r\n"), "foreign"),
        (sends(b"\x00\xff\x1b[2J" * 100_000), "foreign"),
        (sends(b"no end of line"), "foreign"),
        (sends(b"orch xyz \n"), "foreign"),
        (sends(b"orch xyz 1 2 3 4\n"), "foreign"),
        (sends(b"orch xyz " + b"x" * 10_000), "foreign"),
    ],
)
def test_probe_of_another_service_has_its_result_in_time(serve: Serve, result: str) -> None:
    with service(serve) as port:
        began = time.monotonic()
        (outcome,) = outcomes_of(("127.0.0.1", port, "xyz"), timeout=0.5)
    assert outcome["result"] == result
    assert time.monotonic() - began < 10


def test_foreign_answer_is_short_and_ascii() -> None:
    with service(sends(b"\xff\x00\n" * 10_000)) as port:
        (outcome,) = outcomes_of(("127.0.0.1", port, "xyz"))
    assert len(outcome["said"]) <= 240
    assert outcome["said"].isascii()


@given(words=st.binary(min_size=1, max_size=400).filter(lambda b: not b.startswith(b"orch xyz")))
def test_any_other_answer_is_foreign(words: bytes) -> None:
    with service(lambda connection: connection.sendall(words)) as port:
        (outcome,) = outcomes_of(("127.0.0.1", port, "xyz"), timeout=2)
    assert outcome["result"] in ("foreign", "reset")


def test_more_targets_than_at_once_keep_their_order(listener: int) -> None:
    good, bad = ("127.0.0.1", listener, "xyz"), ("127.0.0.1", free_port(), "xyz")
    outcomes = outcomes_of(*[good, bad] * 30, at_once=7)
    assert [outcome["result"] for outcome in outcomes] == ["ok", "refused"] * 30


def test_probe_without_time_left_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = (*silent.getsockname(), "xyz")
        outcomes = outcomes_of(target, target, limit=0.6, timeout=30, at_once=1)
    assert [outcome["result"] for outcome in outcomes] == ["error", "error"]
    assert outcomes[1]["text"] == "there was no time left to try it"
