"""Show a fetch or a push: its progress at the bottom of a terminal, and its result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from orchestrator import events
from orchestrator.errors import OrchError
from orchestrator.remote.grouped_errors import grouped_lines
from orchestrator.ui import messages
from orchestrator.ui.streams import Streams
from orchestrator.ui.terminal import Row, printable
from orchestrator.util.text import counted, format_size

_MIN_RATED_SIZE = 1_000_000  # bytes; of less, the rate means little
_MAX_LEFT = 3  # files that were not fetched and are listed


class TransferProgress:
    """The progress of a transfer `from` nodes or `to` them (`direction`), as a row."""

    def __init__(
        self, verb: str, direction: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._verb, self._direction = verb, direction
        self._clock = clock
        self._began = clock()
        self._nodes: dict[str, tuple[int, int]] = {}

    def update(self, node: str, moved: int, total: int) -> None:
        """Note that `moved` of `total` bytes of a node were transferred."""
        self._nodes[node] = (moved, total)

    def rows(self, width: int, height: int) -> list[Row]:
        """Return the row for a terminal."""
        nodes = dict(self._nodes)  # another thread draws
        if not nodes:
            return []
        moved, total = map(sum, zip(*nodes.values(), strict=True))
        rate = moved / max(0.1, self._clock() - self._began)
        names = next(iter(nodes)) if len(nodes) == 1 else counted(len(nodes), "node")
        amount = f"{format_size(moved)} of {format_size(total)} {self._direction} {names}"
        share = f" · {100 * moved // total} %" if total else ""
        return [
            (
                (f"{self._verb} ", "1;36"),
                (f"{amount} · {format_size(int(rate))}/s", ""),
                (share, "2"),
            )
        ]


def fetched(event: events.Fetched, *, is_rehearsal: bool = False) -> str:
    """Return what was fetched from one node (on a rehearsal: would be), in one line or a few."""
    folder = messages.short_path(event.folder)
    amount = format_size(event.size)
    if not is_rehearsal and event.size >= _MIN_RATED_SIZE and event.seconds > 0:
        amount += f", {format_size(int(event.size / event.seconds))}/s"
    what = f"{counted(event.files, 'file')} ({amount})"
    if not event.files:
        text = f"{event.node}: nothing new"
    elif is_rehearsal:
        text = f"{event.node}: {what} would be fetched into {folder}"
    else:
        text = f"{event.node}: fetched {what} into {folder}"
    if event.same:
        text += f", {counted(event.same, 'file')} already here"
    if not event.left:
        return text
    lines = [f"{text}; {counted(len(event.left), 'file')} left out:", *event.left[:_MAX_LEFT]]
    if len(event.left) > _MAX_LEFT:
        lines.append(f"and {len(event.left) - _MAX_LEFT} more")
    if event.newer:
        lines.append("--overwrite replaces files that are newer here")
    return f"\n{messages.INDENT}  ".join(lines)


def listing(files: Sequence[tuple[str, int]]) -> str:
    """Return a line for each file that a fetch would bring: size and path."""
    return "".join(f"{format_size(size):>9}  {printable(path)}\n" for path, size in files)


class TransferScreen:
    """Shows the events of a fetch or a push on stderr: progress only on a terminal."""

    def __init__(self) -> None:
        self._streams = Streams()
        self._progress: TransferProgress | None = None

    def __call__(self, event: events.Event) -> None:
        match event:
            case events.FetchAdvanced():
                self._advance("fetch", "from", event.node, event.received, event.total)
            case events.SyncAdvanced():
                self._advance("push", "to", event.node, event.sent, event.total)
            case _ if (notice := messages.notice(event)) is not None:
                self.say(*notice)

    def _advance(self, verb: str, direction: str, node: str, moved: int, total: int) -> None:
        if self._progress is None:
            self._progress = TransferProgress(verb, direction)
            self._streams.draw(self._progress.rows)
        self._progress.update(node, moved, total)
        self._streams.refresh()

    def show(self, event: events.Fetched, *, is_rehearsal: bool = False) -> None:
        """Show what was fetched from one node (on a rehearsal: would be)."""
        self._streams.draw(None)
        self.say(fetched(event, is_rehearsal=is_rehearsal))

    def show_problems(self, problems: Iterable[OrchError]) -> None:
        """Print what went wrong on nodes, identical problems once."""
        for row in grouped_lines(problems):
            self.say(row, "red")

    def say(self, text: str, colour: str | None = None) -> None:
        """Show a message of one line or a few."""
        self._streams.say(text, colour)

    def close(self) -> None:
        """Restore the terminal and write everything."""
        self._streams.draw(None)
        self._streams.close(b"", None)
