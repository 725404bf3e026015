"""The last lines that look like errors, for when no signature matches."""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_LEADS = 5
"""How many are kept for each source."""

_WORD = re.compile(
    rb"(?i:\b(?:error|fatal|failed|failure|failing|exception|abort(?:ed|ing)?|cannot|refused|denied|unable|"
    rb"panic|killed)\b)|\b[A-Z][A-Za-z]{1,60}(?:Error|Exception): "
)
_TAIL = 32 * 1024  # bytes at the end of a block in which they are looked for
# Counts of errors, and the names of metrics and options.
_NO_LEAD = re.compile(
    rb"(?i:\b(?:0|no) (?:errors?|failures?|failed)\b|\bignor(?:e|ed|ing)\b|on[_-](?:error|failure)|"
    rb"\berrors?[\"']?\s?[:=]\s?(?:none|null|false|[\d.]+)|"
    rb"\b(?:mean|squared|absolute|relative|reconstruction|validation|test|train)\w* error\b)"
)


def leads(lines: bytes, shapes: bytes) -> Iterator[int]:
    """Yield where lines of a block that look like errors start, of the last `MAX_LEADS` in order.

    `shapes` are its lines without digits, each of them once: if none has such a word, no line has.
    """
    if _WORD.search(shapes) is None:
        return
    floor, end = max(0, len(lines) - _TAIL), len(lines)
    found: list[int] = []
    while end > floor and len(found) < MAX_LEADS:
        at = lines.rfind(b"\n", 0, end) + 1
        part = max(at, floor), end
        if _WORD.search(lines, *part) and not _NO_LEAD.search(lines, *part):
            found.append(at)
        end = at - 1
    yield from reversed(found)
