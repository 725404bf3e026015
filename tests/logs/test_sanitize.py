from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.logs.sanitize import as_seen, sanitize

SGR = re.compile(r"\x1b\[[0-9;:]*m")
LURES = st.sampled_from(
    [b"\x1b[31m", b"\x1b[0m", b"\x1b[m", b"\x1b[2J", b"\x1b", b"[", b"\xc2\x9b", b"\n", b"\xe2\x80"]
)
HOSTILE = st.lists(LURES | st.binary(max_size=8) | st.text(max_size=8).map(str.encode)).map(
    b"".join
)


@given(HOSTILE)
def test_sanitize_leaves_tab_newline_and_colour(lines: bytes) -> None:
    shown = sanitize(lines).decode()  # valid UTF-8
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", SGR.sub("", shown)
    )


@given(HOSTILE)
def test_sanitize_resets_colour_on_each_line(lines: bytes) -> None:
    for line in sanitize(lines).decode().split("\n"):
        assert SGR.findall(line)[-1:] in ([], ["\x1b[0m"], ["\x1b[m"])


@given(HOSTILE)
def test_sanitize_treats_lines_separately(lines: bytes) -> None:
    assert sanitize(lines) == b"\n".join(map(sanitize, lines.split(b"\n")))


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]) | st.sampled_from("\t\n")))
def test_sanitize_keeps_ordinary_text(text: str) -> None:
    assert sanitize(text.encode()).decode() == text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"\x1b[2Jx", "^[[2Jx"),  # CSI: clear the screen
        (b"\x1b]0;title\x07", "^[]0;title^G"),  # OSC: retitle the window
        (b"\x1b]52;c;AAAA\x1b\\", "^[]52;c;AAAA^[\\"),  # OSC: write the clipboard
        (b"\x1bP+q544e\x1b\\", "^[P+q544e^[\\"),  # DCS
        (b"\x1b[>4;2m", "^[[>4;2m"),  # ends with m, is not SGR
        (b"\x00\x08\x0b\x7f", "^@^H^K^?"),
        (b"\xc2\x9b2J", "<U+009B>2J"),  # C1 in UTF-8
        (b"\x9b2J", "�2J"),  # C1 as a raw byte
        ("a\u202eb\u2066c".encode(), "a<U+202E>b<U+2066>c"),
        (b"\xff\xfe", "��"),
        (b"a\tb", "a\tb"),
        (b"\x1b[1;38:5:208mhot\x1b[0m cold", "\x1b[1;38:5:208mhot\x1b[0m cold"),
        (b"\x1b[31mred\nplain", "\x1b[31mred\x1b[0m\nplain"),
    ],
)
def test_sanitize_makes_controls_visible(raw: bytes, shown: str) -> None:
    assert sanitize(raw).decode() == shown


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        (b"plain", "plain"),
        (b"\x1b[1;31mred\x1b[0m", "red"),
        (b"10%\r20%\r\r", "20%"),
        (b"\x1b]0;title\x07\xff", "^[]0;title^G\ufffd"),
    ],
)
def test_as_seen_is_what_a_terminal_leaves(line: bytes, seen: str) -> None:
    assert as_seen(line) == seen


@given(
    st.lists(st.sampled_from([b"plain\n", b"\x1b[2J\n", "é\n".encode(), b"x" * 20_000]), max_size=8)
)
def test_sanitize_treats_lines_of_long_chunks_separately(parts: list[bytes]) -> None:
    lines = b"".join(parts * 3)
    assert sanitize(lines) == b"\n".join(map(sanitize, lines.split(b"\n")))


def test_sanitize_counts_many_zero_bytes() -> None:
    assert sanitize(b"a\0\0b") == b"a^@^@b"
    assert sanitize(b"a" + bytes(70_000) + b"b") == b"a[70000 zero bytes]b"
