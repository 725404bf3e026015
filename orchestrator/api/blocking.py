"""Call asynchronous code from synchronous code: in a thread of its own, so that it also works inside a
running event loop, as in a notebook.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from orchestrator import events

T = TypeVar("T")

_MAX_EVENTS = 10_000  # queued for the caller; if the queue is full, the loop waits
_POLL_INTERVAL = 0.01  # seconds


class EventLoopThread:
    """An event loop in a thread of its own, for a `with` block of the caller's thread.

    Events emitted in the loop reach `on_event` in the caller's thread while that thread waits, so
    `on_event` may print, raise or exit. At the end of the block, unfinished work is cancelled and
    awaited.
    """

    def __init__(self, on_event: events.Emit | None = None) -> None:
        self._on_event = on_event
        self._news: queue.SimpleQueue[events.Event | None] = (
            queue.SimpleQueue()
        )  # None: check again
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="orch", daemon=True)
        self._closing = asyncio.Event()
        self._is_open = True
        self._work: asyncio.Task[Any] | None = None

    def __enter__(self) -> EventLoopThread:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_open = False
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def emit(self, event: events.Event) -> None:
        """Pass on an event; called in the loop's thread."""
        if self._on_event is None:
            return
        while self._news.qsize() >= _MAX_EVENTS and self._is_open:
            time.sleep(_POLL_INTERVAL)
        self._news.put(event)

    def wait(
        self, work: Coroutine[Any, Any, T], on_interrupt: Callable[[], None] | None = None
    ) -> T:
        """Return what `work` returns, or raise what it raises.

        KeyboardInterrupt (in the main thread only) causes the work to be cancelled; with
        `on_interrupt`, which is called in the loop, the work continues to its end, and KeyboardInterrupt
        is raised then.
        """
        done: Future[T] = asyncio.run_coroutine_threadsafe(self._do(work), self._loop)
        done.add_done_callback(lambda _: self._news.put(None))
        interrupt: KeyboardInterrupt | None = None
        while not (done.done() and self._news.empty()):
            try:
                event = self._news.get()
                if event is not None and self._on_event is not None:
                    self._on_event(event)
            except KeyboardInterrupt as error:
                if on_interrupt is None:
                    raise
                interrupt = error
                self._loop.call_soon_threadsafe(on_interrupt)
        if interrupt is not None:
            raise interrupt from done.exception()
        return done.result()

    async def _do(self, work: Coroutine[Any, Any, T]) -> T:
        self._work = asyncio.current_task()
        return await work

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_closed())

    async def _until_closed(self) -> None:
        await self._closing.wait()
        if self._work is not None and not self._work.done():
            self._work.cancel()  # before its subtasks, which it needs for a clean end
            await asyncio.wait([self._work])


def call(
    work: Callable[[events.Emit], Coroutine[Any, Any, T]], on_event: events.Emit | None = None
) -> T:
    """Return what `work` returns; it gets a function to emit events."""
    with EventLoopThread(on_event) as loop:
        return loop.wait(work(loop.emit))


def iterate(
    make: Callable[[events.Emit], AsyncIterator[list[T]]], on_event: events.Emit | None = None
) -> Iterator[T]:
    """Yield what the iterator yields, list by list; it runs only while the next item is asked for."""
    with EventLoopThread(on_event) as loop:
        batches = make(loop.emit)

        async def next_batch() -> list[T] | None:
            return await anext(batches, None)

        while (batch := loop.wait(next_batch())) is not None:
            yield from batch
