"""Rows at the bottom of a terminal: cut to its width, without control characters, removed when due."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from collections.abc import Iterator

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.ui.terminal import Footer, columns, paint, printable

from .screens import Terminal, terminal


@pytest.fixture
def tty() -> Iterator[Terminal]:
    with terminal(40, 10) as made:
        yield made


@given(st.text(), st.integers(1, 60))
def test_rows_stay_within_the_width_and_on_one_line(text: str, width: int) -> None:
    painted = paint(((text[:5], "1"), (text[5:], "")), width, colour=True).decode()
    plain = printable(painted)
    assert columns(plain) <= width
    assert plain.isprintable()
    screen = pyte.Screen(width, 3)
    pyte.Stream(screen).feed(f"\x1b[?7l{painted}")
    assert screen.cursor.y == 0
    assert not screen.display[1].strip()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("all of it", "all of it"),
        ("a little more", "a little…"),
        ("日本語です", "日本語で…"),
        ("e\u0301te\u0301 e\u0301te\u0301", "e\u0301te\u0301 e\u0301te\u0301"),
    ],
)
def test_wide_text_is_cut_by_columns(text: str, shown: str) -> None:
    assert paint(((text, ""),), 9, colour=False).decode() == shown


def test_remote_text_has_no_escape_sequences() -> None:
    row = (("\x1b[31mred\x1b[0m \x1b]0;title\x07 \u202eevil\x1b[2J", ""),)
    assert paint(row, 80, colour=True).decode() == "red �]0;title� �evil�[2J"


def frames(footer: Footer, lines: bytes, *rows: str) -> bytes:
    """Return what is written until the footer shows these rows."""
    written = footer.frame(lines, lambda width, height: [((row, ""),) for row in rows])
    return written + footer.frame(b"", lambda width, height: [((row, ""),) for row in rows])


def test_frame_replaces_rows_and_keeps_lines(tty: Terminal) -> None:
    footer = Footer(tty.descriptor)
    os.write(tty.descriptor, frames(footer, b"line 1\n", "one", "two"))
    assert tty.look(0.1) == ["line 1", "one", "two"]
    os.write(tty.descriptor, frames(footer, b"line 2\nline 3\n", "only"))
    assert tty.look(0.1) == ["line 1", "line 2", "line 3", "only"]
    assert footer.is_drawn
    assert (tty.screen.cursor.x, tty.screen.cursor.y) == (0, 3)  # at the start of the row
    os.write(tty.descriptor, footer.frame(b"line 4\n", None))
    assert tty.look(0.1) == ["line 1", "line 2", "line 3", "line 4"]
    assert not footer.is_drawn


def test_unchanged_frame_writes_nothing(tty: Terminal) -> None:
    footer = Footer(tty.descriptor)
    assert frames(footer, b"", "one")
    assert frames(footer, b"", "one") == b""


def test_no_rows_are_drawn_while_the_size_changes(tty: Terminal) -> None:
    footer = Footer(tty.descriptor)
    render = lambda width, height: [(("row", ""),)]  # noqa: E731
    for size in ((50, 10), (60, 10), (30, 5)):
        tty.resize(*size)
        assert b"row" not in footer.frame(b"line\n", render)
        assert footer.is_late
    assert b"row" in footer.frame(b"line\n", render)
    assert not footer.is_late


def test_terminal_without_a_size_has_no_rows() -> None:
    master, descriptor = os.openpty()
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
    assert frames(Footer(descriptor), b"line\n", "row") == b"line\n"
    os.close(descriptor)
    os.close(master)
