"""Names that a node resolves, without waiting for any resolver too long."""

from __future__ import annotations

import socket
import threading
import time

from orchestrator.node.probes.names import own_name, resolve


def test_resolve_keeps_the_resolvers_order() -> None:
    found = resolve(["a", "b"], look_up=lambda name: [f"10.0.0.{ord(name)}", "10.0.0.1"])
    assert found == {
        "a": {"addresses": ["10.0.0.97", "10.0.0.1"], "error": None},
        "b": {"addresses": ["10.0.0.98", "10.0.0.1"], "error": None},
    }


def test_resolve_of_unknown_name_says_why() -> None:
    def look_up(name: str) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    assert resolve(["x"], look_up=look_up) == {
        "x": {"addresses": [], "error": "Name or service not known"}
    }


def test_resolve_with_a_hanging_name_answers_the_others() -> None:
    release = threading.Event()

    def look_up(name: str) -> list[str]:
        if name == "slow":
            assert release.wait(60)
        return ["10.0.0.1"]

    began = time.monotonic()
    try:
        found = resolve(["slow", *(f"n{i}" for i in range(100))], seconds=1.0, look_up=look_up)
    finally:
        release.set()
    assert time.monotonic() - began < 30
    assert found.pop("slow") == {"addresses": [], "error": "no answer within 1 s"}
    assert len(found) == 100
    assert all(answer["error"] is None for answer in found.values())


def test_resolve_without_any_answer_times_out() -> None:
    release = threading.Event()

    def look_up(name: str) -> list[str]:
        assert release.wait(60)
        return []

    try:
        found = resolve([f"n{i}" for i in range(100)], seconds=0.2, look_up=look_up)
    finally:
        release.set()
    assert {answer["error"] for answer in found.values()} == {"no answer within 0.2 s"}


def test_resolve_of_invalid_name_is_an_error_of_that_name() -> None:
    found = resolve(["", "a" * 300 + ".example", "localhost"])
    assert found["a" * 300 + ".example"]["error"]
    assert found["localhost"]["addresses"]


def test_resolve_bounds_the_addresses() -> None:
    found = resolve(["x"], look_up=lambda name: [f"10.0.{i}.1" for i in range(200)])
    assert 0 < len(found["x"]["addresses"]) < 100


def test_own_name_is_that_of_the_kernel() -> None:
    assert own_name()["hostname"] == socket.gethostname()
