"""Print the logs of a run, as `orch logs` does."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from orchestrator import events
from orchestrator.logs.filter import Grep, LastLines, painter
from orchestrator.logs.lines import Lines
from orchestrator.logs.stream import Stream
from orchestrator.plan import Plan
from orchestrator.ui import messages
from orchestrator.ui.console import View, lines_for
from orchestrator.ui.event_printer import EventPrinter
from orchestrator.ui.printer import Printer, Raw
from orchestrator.ui.terminal import wants_colour

_FLUSH_INTERVAL = 0.1  # seconds
_END_OF_PAST = 0.05  # seconds without output after which all past output has been read


def highlighter(pattern: re.Pattern[str] | None) -> Callable[[bytes], bytes] | None:
    """Return what marks the matches in lines; None without a pattern, or without colour."""
    return painter(pattern) if pattern is not None and wants_colour(1) else None


class LogPrinter:
    """Writes output to stdout (raw: the ranks' stderr to stderr): lines that match `grep` (None: all), and
    of past ones only the last `tail` (None: all).
    """

    def __init__(
        self, view: View, plan: Plan, grep: re.Pattern[str] | None, tail: int | None
    ) -> None:
        self._held: list[LastLines] = []  # for stdout, and for stderr if raw
        self._news = asyncio.Event()
        self._has_read = False
        self._is_raw = view.output == "raw"
        self._print_event = EventPrinter()

        def lines() -> Lines:
            shown = lines_for(view, plan) or Raw()
            if grep is None:
                return shown
            if tail is not None:
                shown = LastLines(tail, shown)
                self._held.append(shown)
            return Grep(grep, shown)

        self._printer = Printer(lines(), lines() if self._is_raw else None)

    def show(self, stream: Stream, data: bytes, t: float, hole: int) -> None:
        """Show output of `stream`, written at `t` (seconds since the epoch), or a `hole` of so many
        bytes.
        """
        if hole and self._is_raw:
            self._printer.say(messages.hole(stream, hole), "yellow")
        else:
            self._printer.show(stream, data, t)

    def close(self) -> None:
        """Write everything that is left."""
        self._printer.close()

    async def follow(self, news: AsyncIterator[events.Event]) -> None:
        """Show output and events until there are no more."""
        tasks = [asyncio.create_task(self._read(news)), asyncio.create_task(self._write())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result

    async def _read(self, news: AsyncIterator[events.Event]) -> None:
        async for event in news:
            if isinstance(event, events.Output):
                self.show(event.stream, event.data, event.time, event.hole)
                self._has_read = True
                self._news.set()
                continue
            if isinstance(event, events.Ended):
                self._printer.close()
            self._printer.write()
            self._print_event(event)

    async def _write(self) -> None:
        """Write what was read whenever reading pauses, and unfinished lines after a while."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_END_OF_PAST if self._held else _FLUSH_INTERVAL):
                    await self._news.wait()
            if self._has_read and not self._news.is_set():  # past output has been read
                for descriptor, held in enumerate(self._held, start=1):
                    self._printer.put(descriptor, held.release())
                self._held.clear()
            self._news.clear()
            self._printer.flush()
