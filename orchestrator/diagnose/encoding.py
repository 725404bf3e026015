"""Logs in UTF-16, as PowerShell's `>` writes them."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator

_BOMS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_SAMPLE = 512  # bytes that show the encoding if there is no byte order mark


def utf16(head: bytes) -> str | None:
    """Return `utf-16-le` or `utf-16-be` if a text starts like that, else None."""
    for mark, name in _BOMS.items():
        if head.startswith(mark):
            return name
    sample = head[: min(len(head) & ~1, _SAMPLE)]
    if len(sample) < 8:
        return None
    even, odd = sample[::2], sample[1::2]
    # Most characters of a log are ASCII: every other byte is zero.
    if odd.count(0) > 0.8 * len(odd) and not even.count(0):
        return "utf-16-le"
    if even.count(0) > 0.8 * len(even) and not odd.count(0):
        return "utf-16-be"
    return None


def as_utf8(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bytes of `chunks`; in UTF-8, if they are UTF-16."""
    found: codecs.IncrementalDecoder | None = None
    is_known = False
    for chunk in chunks:
        if not is_known and chunk:
            is_known = True
            if (name := utf16(chunk)) is not None:
                found = codecs.getincrementaldecoder(name)("replace")
        yield chunk if found is None else found.decode(chunk).lstrip("\ufeff").encode()
