"""Turn the words of `orch logs` into what is to be read, and write it."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Literal

from orchestrator import events
from orchestrator.catch_up import catch_up, shortcomings
from orchestrator.cli.selection import nodes_of, ranks_of
from orchestrator.cli.tell import Teller
from orchestrator.cli.values import value_of
from orchestrator.logs.filter import Grep, LastLines, painter, parse_pattern
from orchestrator.logs.lines import Lines
from orchestrator.logs.moment import parse_moment
from orchestrator.logs.replay import Replay
from orchestrator.logs.select import Selection
from orchestrator.logs.stream import Channel
from orchestrator.process import end_imports
from orchestrator.runs.registry import find, unless_pruned
from orchestrator.runs.saved import Saved
from orchestrator.runs.watch import ends_of, watch
from orchestrator.ui.console import View, lines_for
from orchestrator.ui.printer import Printer, Raw
from orchestrator.ui.terminal import wants_colour

_FLUSH_EVERY = 0.1  # seconds
_QUIET = 0.05  # `watch` pauses for longer once it has told all that is there


@dataclass(frozen=True)
class Arguments:
    """The words of the command line, as typed."""

    run: str | None
    follow: bool
    rank: str | None
    nodes: str | None
    stdout: bool
    stderr: bool
    tail: int | None
    since: str | None
    grep: str | None
    highlight: str | None
    timestamps: bool
    fold: bool | None
    output: Literal["text", "json", "raw"]


def run(arguments: Arguments) -> None:
    """Carry out `orch logs`."""
    saved = find(arguments.run)
    logs = _Logs(saved, arguments)
    end_imports()
    if arguments.follow and not saved.has_ended:
        signal.signal(signal.SIGINT, _interrupt)
        asyncio.run(logs.follow())
        return
    tell = Teller()
    saved = asyncio.run(catch_up(saved, tell))
    logs.show(saved)
    for sentence in shortcomings(saved):
        tell.say(sentence, "yellow")
    if arguments.follow or saved.state == "failed":
        for event in ends_of(saved):
            tell(event)


class _Logs:
    """What is read of a run's output, and how it is shown."""

    def __init__(self, saved: Saved, arguments: Arguments) -> None:
        self._saved = saved
        self._wanted = Selection(
            ranks_of(saved.plan, arguments.rank),
            nodes_of(saved.plan, arguments.nodes, saved.former),
            _channel(arguments),
        )
        self._since = value_of("--since", arguments.since, lambda t: parse_moment(t, time.time()))
        grep = value_of("--grep", arguments.grep, parse_pattern)
        highlight = value_of("--highlight", arguments.highlight, parse_pattern)
        paint = painter(highlight) if highlight and wants_colour(1) else None
        view = View(
            arguments.output, timestamps=arguments.timestamps, fold=arguments.fold, paint=paint
        )
        # The last lines that match are others than those of the last lines that do.
        self._last = arguments.tail if grep is None else None
        self._held: list[LastLines] = []  # of stdout, and for raw bytes of stderr
        self._news = asyncio.Event()
        self._has_read = False

        def lines() -> Lines:
            shown = lines_for(view, saved.plan) or Raw()
            if grep is None:
                return shown
            if arguments.tail is not None:
                shown = LastLines(arguments.tail, shown)
                self._held.append(shown)
            return Grep(grep, shown)

        self._printer = Printer(lines(), lines() if arguments.output == "raw" else None)

    def show(self, saved: Saved) -> None:
        """Show what there is of the run, as it is by now."""
        wanted = self._wanted.__contains__
        replay = Replay(
            saved.logs, saved.settings.skews, wanted, since=self._since, last=self._last
        )
        with closing(replay), unless_pruned(saved):
            for pieces in (replay.pieces(), replay.rest() if saved.has_ended else ()):
                for piece in pieces:
                    self._printer.show(piece.stream, piece.data, piece.t)
        self._printer.close()

    async def follow(self) -> None:
        """Show what there is and what comes, until the run has ended."""
        tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result

    async def _read(self) -> None:
        wanted = self._wanted.__contains__
        tell = Teller()
        async for event in watch(self._saved, wanted, since=self._since, last=self._last):
            if isinstance(event, events.Output):
                self._printer.show(event.stream, event.data, event.time)
                self._has_read = True
                self._news.set()
                continue
            if isinstance(event, events.Ended):
                self._printer.close()
            self._printer.write()
            tell(event)

    async def _write(self) -> None:
        """Write what was read whenever the reading pauses, and what is held back in time."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_QUIET if self._held else _FLUSH_EVERY):
                    await self._news.wait()
            if self._has_read and not self._news.is_set():  # that was the past
                for descriptor, held in enumerate(self._held, start=1):
                    self._printer.put(descriptor, held.release())
                self._held.clear()
            self._news.clear()
            self._printer.flush()


def _channel(arguments: Arguments) -> Channel | None:
    if arguments.stdout == arguments.stderr:
        return None
    return "stdout" if arguments.stdout else "stderr"


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End now, also while a terminal that is stopped is waited for; asyncio's own would not."""
    raise KeyboardInterrupt
