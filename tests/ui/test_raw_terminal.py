"""`Enter ~ .` disconnects; all other keys are passed on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.ui.raw_terminal import Keys


def passed(*typed: bytes) -> tuple[bytes, bool]:
    keys = Keys()
    return b"".join(map(keys.take, typed)), keys.has_left


@pytest.mark.parametrize(
    ("typed", "goes", "leaves"),
    [
        (b"~.", b"", True),
        (b"ls\r~.rest", b"ls\r", True),
        (b"ls\n~.", b"ls\n", True),
        (b"a~.", b"a~.", False),
        (b"~~.", b"~.", False),
        (b"~a", b"~a", False),
        (b"~\r~.", b"~\r", True),
        (b"\x03\x1a\x00\xff", b"\x03\x1a\x00\xff", False),
    ],
)
def test_only_enter_tilde_dot_disconnects(typed: bytes, goes: bytes, leaves: bool) -> None:
    assert passed(typed) == (goes, leaves)
    assert passed(*(bytes([byte]) for byte in typed)) == (goes, leaves)


@given(st.binary(max_size=60).map(lambda data: data.replace(b"~", b"")))
def test_keys_without_a_tilde_are_passed_unchanged(typed: bytes) -> None:
    assert passed(typed) == (typed, False)


@given(st.lists(st.sampled_from([b"~", b".", b"\r", b"a"]), max_size=12), st.integers(0, 12))
def test_keys_may_come_in_any_pieces(typed: list[bytes], at: int) -> None:
    data = b"".join(typed)
    assert passed(data[:at], data[at:]) == passed(data)
