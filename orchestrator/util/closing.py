"""Close what is open, all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol


class Closable(Protocol):
    """What is closed asynchronously: a connection to a node."""

    async def close(self) -> None: ...


async def close_all(connections: Iterable[Closable]) -> None:
    """Close all of `connections`. Raises the first error that one of them raises."""
    await asyncio.gather(*(each.close() for each in connections))
