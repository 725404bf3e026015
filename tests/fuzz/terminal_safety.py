"""Check that bytes are safe to write to a terminal."""

from __future__ import annotations

import unicodedata

from orchestrator.logs.sanitize import without_colour

_BIDIRECTIONAL = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))


def is_terminal_safe(line: bytes) -> bool:
    """Tell whether bytes are UTF-8 with no controls but tab, newline and SGR."""
    text = without_colour(line.decode("utf-8", "strict"))
    return all(char in "\t\n" or unicodedata.category(char) != "Cc" for char in text) and (
        _BIDIRECTIONAL.isdisjoint(text)
    )
