"""Chunks of any size into blocks of whole lines, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

BLOCK = 256 * 1024


def blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bytes of `chunks` in blocks of about `BLOCK` bytes that end with a newline.

    The last one may lack it, and so does every piece of a line longer than a block.
    """
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        for start in range(0, len(chunk), BLOCK):
            piece = chunk[start : start + BLOCK] if len(chunk) > BLOCK else chunk
            held.append(piece)
            size += len(piece)
            if size < BLOCK:
                continue
            data = b"".join(held)
            end = data.rfind(b"\n") + 1 or len(data)
            yield data[:end]
            held, size = [data[end:]], len(data) - end
    if size:
        yield b"".join(held)
