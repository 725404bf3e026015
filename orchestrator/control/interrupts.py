"""What a person asks of a run by signals: to end it (which signal, and how often), or to leave it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from orchestrator.errors import Interrupted
from orchestrator.node.reasons import StopReason
from orchestrator.reasons import reason_of_signal

T = TypeVar("T")


class Interrupts:
    """Counts the signals that end a run; the first that came says how it ended."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.count = 0
        self.leaving: str | None = None
        """Why the run is to go on without its controller, if it is."""
        self.has_started = False
        """Whether the job has begun to start, so that there is something to leave."""
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._left = asyncio.Event()
        self._on_refusal: Callable[[], None] | None = None

    @property
    def reason(self) -> StopReason:
        """Why a run is to stop that has another controller."""
        return reason_of_signal(self.signal)

    def send(self, number: int) -> None:
        """Take in signal `number`."""
        if self.signal is None:
            self.signal = number
        self.count += 1
        for wanted, future in self._waiters:
            if self.count >= wanted and not future.done():
                future.set_result(None)

    def refuse_to_leave(self, tell: Callable[[], None]) -> None:
        """Have nobody leave the run, since it would not go on; `tell` is called where somebody tries to."""
        self._on_refusal = tell

    def leave(self, reason: str) -> None:
        """Let the run go on in the background, once it has started."""
        if self._on_refusal is not None:
            self._on_refusal()
        elif self.leaving is None:
            self.leaving = reason
            self._left.set()

    def hang_up(self, number: int, reason: str) -> None:
        """Take in signal `number`, which says that the person has gone: it ends what has not started, or
        would not go on.
        """
        if self.has_started and self._on_refusal is None:
            self.leave(reason)
        else:
            self.send(number)

    async def wait(self, count: int) -> None:
        """Return when `count` signals have come."""
        if self.count >= count:
            return
        future = asyncio.get_running_loop().create_future()
        self._waiters.append((count, future))
        await future

    async def wait_for_leave(self) -> str:
        """Return why, when the run is to go on without its controller."""
        await self._left.wait()
        assert self.leaving is not None
        return self.leaving

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
