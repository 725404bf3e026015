"""The text that a regular expression cannot match without; it makes finding nothing cheap."""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""(?P<escaped>\\[^A-Za-z0-9])      # a character that would mean something: \\. \\( \\[
    |(?P<special>\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[.^$])  # a class, any character, a boundary
    |(?P<repeat>[*+?]\+?|\{\d*,?\d*\}[+?]?)
    |(?P<open>\((?:\?[!=:]|\?<[!=]|\?P<\w+>|\?i:)?)
    |(?P<close>\))
    |(?P<either>\|)
    |(?P<plain>.)""",
    re.VERBOSE | re.DOTALL,
)


def literals(pattern: str) -> list[str]:
    """Return the pieces of text that stand in every match of `pattern`.

    Groups are left out, for there may be a choice in them. Raises ValueError for a choice outside of
    groups: write two patterns.
    """
    pieces, piece, depth, previous = [], "", 0, ""
    for token in _TOKEN.finditer(pattern):
        kind = token.lastgroup
        if kind == "either" and not depth:
            raise ValueError(f"a choice outside of a group: {pattern}")
        if kind == "open":
            depth += 1
        elif kind == "close":
            depth -= 1
        if depth or kind == "close":
            pieces.append(piece)
            piece = ""
        elif kind in ("plain", "escaped"):
            piece += token[0][-1]
        elif kind == "repeat":
            if previous in ("plain", "escaped") and not token[0].startswith("+"):
                piece = piece[:-1]
            pieces.append(piece)
            piece = ""
        else:
            pieces.append(piece)
            piece = ""
        previous = kind or ""
    return [text for text in [*pieces, piece] if text]
