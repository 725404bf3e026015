"""Requests that the user sends as signals: end a run (which signal, how often), or detach from it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from orchestrator.errors import Interrupted
from orchestrator.node.reasons import StopReason
from orchestrator.reasons import reason_of_signal

T = TypeVar("T")


class Interrupts:
    """Counts the signals that end a run; the first one decides how the run ended."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.count = 0
        self.detach_reason: str | None = None
        """Why the run continues without its controller, None if it does not."""
        self.has_started = False
        """Whether the start of the job has begun, so that the user can detach from it."""
        self._reached: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)  # by count
        self._detached = asyncio.Event()
        self._on_refusal: Callable[[], None] | None = None

    @property
    def reason(self) -> StopReason:
        """The reason to stop a run that has another controller."""
        return reason_of_signal(self.signal)

    def send(self, number: int) -> None:
        """Count signal `number`."""
        if self.signal is None:
            self.signal = number
        self.count += 1
        for count, event in self._reached.items():
            if self.count >= count:
                event.set()

    def forbid_detach(self, on_refusal: Callable[[], None]) -> None:
        """Refuse to detach, since the run would end; call `on_refusal` at each attempt."""
        self._on_refusal = on_refusal

    def detach(self, reason: str) -> None:
        """Let the run continue in the background, once it has started."""
        if self._on_refusal is not None:
            self._on_refusal()
        elif self.detach_reason is None:
            self.detach_reason = reason
            self._detached.set()

    def hang_up(self, number: int, reason: str) -> None:
        """Detach because signal `number` shows that the terminal is gone; end the run if it cannot continue
        or has not started.
        """
        if self.has_started and self._on_refusal is None:
            self.detach(reason)
        else:
            self.send(number)

    async def wait(self, count: int) -> None:
        """Wait until `count` signals have been sent."""
        if self.count < count:
            await self._reached[count].wait()

    async def wait_for_detach(self) -> str:
        """Wait until the user detaches, and return the reason."""
        await self._detached.wait()
        assert self.detach_reason is not None
        return self.detach_reason

    async def abort(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of `work`; at the first signal cancel it and raise Interrupted."""
        task, _ = await first_done(work, self.wait(1))
        if task is None:
            raise Interrupted(self.signal or 0)
        result: T = task.result()
        return result


async def first_done(*works: Awaitable[Any]) -> list[asyncio.Future[Any] | None]:
    """Run `works` until one of them is done, then cancel the others and wait for their cleanup.

    Returns a done future for each of `works`, in order, None for those that were cancelled.
    """
    tasks = [asyncio.ensure_future(work) for work in works]
    done = set[asyncio.Future[Any]]()
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [task if task in done else None for task in tasks]
