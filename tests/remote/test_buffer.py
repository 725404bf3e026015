"""A channel's buffer behaves like asyncio.StreamReader for any data in any pieces."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.remote.buffer import Buffer

LIMIT = 8

pieces = st.lists(st.text("ab\n", max_size=12).map(str.encode), max_size=12)
requests = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(1, 10)),
        st.tuples(st.just("readexactly"), st.integers(0, 30)),
        st.tuples(st.just("readuntil"), st.sampled_from([b"\n", b"ab", b"\n\n"])),
    ),
    max_size=12,
)


class Source:
    """Delivers pieces while it is not paused."""

    def __init__(self, reader: Buffer | asyncio.StreamReader, pieces: list[bytes]) -> None:
        self._reader, self._left = reader, list(pieces)
        self._may_bring = asyncio.Event()
        self._may_bring.set()

    @property
    def is_paused(self) -> bool:
        return not self._may_bring.is_set()

    def pause_reading(self) -> None:
        self._may_bring.clear()

    def resume_reading(self) -> None:
        self._may_bring.set()

    async def bring(self) -> None:
        for piece in self._left:
            await self._may_bring.wait()
            self._reader.feed_data(piece)
            await asyncio.sleep(0)
        self._reader.feed_eof()


async def answers(reader: Any, source: Source, asked: list[tuple[str, Any]]) -> list[object]:
    """Return the results of the requests, made one after the other."""
    bringing = asyncio.create_task(source.bring())
    found: list[object] = []
    for name, argument in asked:
        try:
            found.append(await getattr(reader, name)(argument))
        except asyncio.IncompleteReadError as error:
            found.append(("incomplete", error.partial))
        except asyncio.LimitOverrunError as error:
            found.append(("overrun", await reader.readexactly(error.consumed)))
    rest = []
    while piece := await reader.read(100):
        rest.append(piece)
    await bringing
    return [*found, b"".join(rest)]


def joined(found: list[object]) -> bytes:
    """Return all bytes of the results, joined."""
    parts = [part[1] if isinstance(part, tuple) else part for part in found]
    return b"".join(part for part in parts if isinstance(part, bytes))


@given(pieces, requests)
def test_buffer_returns_the_same_as_a_stream_reader(
    brought: list[bytes], asked: list[tuple[str, Any]]
) -> None:
    async def both() -> tuple[list[object], list[object]]:
        ours, theirs = Buffer(LIMIT), asyncio.StreamReader(limit=LIMIT)
        source, other = Source(ours, brought), Source(theirs, brought)
        ours.set_source(source)
        theirs.set_transport(other)  # type: ignore[arg-type]
        return await answers(ours, source, asked), await answers(theirs, other, asked)

    ours, theirs = asyncio.run(both())
    assert joined(ours) == joined(theirs) == b"".join(brought)
    # How much a `read` returns, and how far an overlong line was searched, depends on timing.
    if all(name == "readexactly" for name, _ in asked):
        assert ours == theirs
    lines = [name == "readuntil" for name, _ in asked]
    if all(lines) and all(len(line) < LIMIT for line in b"".join(brought).split(b"\n")):
        assert ours == theirs


async def test_source_is_paused_without_a_reader_and_resumed_by_a_read() -> None:
    buffer = Buffer(LIMIT)
    source = Source(buffer, [])
    buffer.set_source(source)
    buffer.feed_data(b"x" * 2 * LIMIT)
    assert not source.is_paused
    buffer.feed_data(b"x")
    assert source.is_paused
    assert await buffer.read(LIMIT) == b"x" * LIMIT
    assert source.is_paused
    await buffer.readexactly(1)
    assert not source.is_paused


async def test_readexactly_of_more_than_the_limit_succeeds() -> None:
    buffer = Buffer(LIMIT)
    source = Source(buffer, [b"x" * 5] * 20)
    buffer.set_source(source)
    bringing = asyncio.create_task(source.bring())
    assert await buffer.readexactly(90) == b"x" * 90
    with pytest.raises(asyncio.IncompleteReadError):
        await buffer.readexactly(11)
    await bringing


async def test_cancelled_read_loses_no_bytes() -> None:
    buffer = Buffer(LIMIT)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await buffer.readuntil(b"\n")
    buffer.feed_data(b"a\nb")
    assert await buffer.readuntil(b"\n") == b"a\n"
    buffer.feed_eof()
    assert [await buffer.read(9), await buffer.read(9)] == [b"b", b""]
