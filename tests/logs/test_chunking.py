from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.logs.chunking import split_overlong


@given(st.binary(max_size=60), st.integers(4, 20))
def test_split_overlong_keeps_the_text_in_short_pieces(text: bytes, limit: int) -> None:
    text = text.replace(b"\n", b"")
    pieces = split_overlong(text, limit)
    assert b"".join(pieces) == text
    assert all(limit - 3 <= len(piece) <= limit for piece in pieces[:-1])
    assert len(pieces[-1]) <= limit


@given(st.text(max_size=40), st.integers(4, 20))
def test_split_overlong_divides_no_character(text: str, limit: int) -> None:
    assert "".join(piece.decode() for piece in split_overlong(text.encode(), limit)) == text


@given(st.text("ab\r\n", max_size=80).map(str.encode), st.integers(4, 10))
def test_split_overlong_cuts_long_lines_anywhere_in_the_data(data: bytes, limit: int) -> None:
    for ends in ((b"\n",), (b"\n", b"\r")):
        pieces = split_overlong(data, limit, ends=ends)
        assert b"".join(pieces) == data
        lines = [re.split(b"|".join(ends), piece) for piece in pieces]
        assert all(len(line) <= limit for piece in lines for line in piece)
        assert all(len(piece[-1]) == limit for piece in lines[:-1])
