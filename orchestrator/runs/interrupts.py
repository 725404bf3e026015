"""A person's wish to end a run: which signal, and how often it was sent."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from orchestrator.errors import Interrupted

T = TypeVar("T")


class Interrupts:
    """Counts signals; the first that came says how the run ended."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.count = 0
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    def send(self, number: int) -> None:
        """Take in signal `number`."""
        if self.signal is None:
            self.signal = number
        self.count += 1
        for wanted, future in self._waiters:
            if self.count >= wanted and not future.done():
                future.set_result(None)

    async def wait(self, count: int) -> None:
        """Return when `count` signals have come."""
        if self.count >= count:
            return
        future = asyncio.get_running_loop().create_future()
        self._waiters.append((count, future))
        await future

    async def abort(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns; at the first signal cancel it and raise Interrupted."""
        task, signal = asyncio.ensure_future(work), asyncio.ensure_future(self.wait(1))
        try:
            await asyncio.wait([task, signal], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise Interrupted(self.signal or 0)
        finally:
            for pending in (task, signal):
                pending.cancel()
            await asyncio.gather(task, signal, return_exceptions=True)
