"""How a fetch or a push goes: a line at the bottom of a terminal, and what is said at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from orchestrator import events
from orchestrator.ui import messages
from orchestrator.ui.streams import Streams
from orchestrator.ui.terminal import Row, printable
from orchestrator.util.text import counted, format_size

_TELLING = 1_000_000  # bytes from which on a rate says something
_NAMED = 3  # files that are left of which the reason is told


class TransferProgress:
    """Hears how much has come `from` nodes, or gone `to` them, and says it in a row."""

    def __init__(self, verb: str, way: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._verb, self._way = verb, way
        self._clock = clock
        self._began = clock()
        self._nodes: dict[str, tuple[int, int]] = {}

    def hear(self, node: str, moved: int, total: int) -> None:
        """So much of all has come from a node, or gone to it."""
        self._nodes[node] = (moved, total)

    def rows(self, width: int, height: int) -> list[Row]:
        """Return it for a terminal."""
        nodes = dict(self._nodes)  # as they are now: another thread draws
        if not nodes:
            return []
        moved = sum(so_far for so_far, _ in nodes.values())
        total = sum(all_of_it for _, all_of_it in nodes.values())
        rate = moved / max(0.1, self._clock() - self._began)
        whom = next(iter(nodes)) if len(nodes) == 1 else counted(len(nodes), "node")
        share = f"{100 * moved // total} %" if total else ""
        much = f"{format_size(moved)} of {format_size(total)} {self._way} {whom}"
        text = f"{much} · {format_size(int(rate))}/s"
        return [((f"{self._verb} ", "1;36"), (text, ""), (f" · {share}" if share else "", "2"))]


def fetched(event: events.Fetched) -> str:
    """Return what came of one node, in a line or a few."""
    if not event.files:
        return _with_left(f"{event.node}: nothing new", event)
    tells = event.size >= _TELLING and event.seconds > 0
    rate = f", {format_size(int(event.size / event.seconds))}/s" if tells else ""
    what = f"{counted(event.files, 'file')} ({format_size(event.size)}{rate})"
    return _with_left(f"{event.node}: fetched {what} into {_folder(event)}", event)


def rehearsed(event: events.Fetched) -> str:
    """Return what would come of one node."""
    if not event.files:
        return _with_left(f"{event.node}: nothing new", event)
    what = f"{counted(event.files, 'file')} ({format_size(event.size)})"
    return _with_left(f"{event.node}: {what} would come into {_folder(event)}", event)


def _folder(event: events.Fetched) -> str:
    return messages.short_path(event.folder)


def _with_left(said: str, event: events.Fetched) -> str:
    """Return it with what was here already, and what is left out and why."""
    if event.same:
        said += f", {counted(event.same, 'file')} here already"
    if not event.left:
        return said
    lines = [f"{said}; {counted(len(event.left), 'file')} left out:", *event.left[:_NAMED]]
    if len(event.left) > _NAMED:
        lines.append(f"and {len(event.left) - _NAMED} more")
    if event.newer:
        lines.append("--overwrite replaces what is newer here")
    return f"\n{messages.INDENT}  ".join(lines)


def listing(files: Sequence[tuple[str, int]]) -> str:
    """Return files as a fetch would bring them, a line each: size and path."""
    return "".join(f"{format_size(size):>9}  {printable(path)}\n" for path, size in files)


class TransferScreen:
    """Hears a fetch or a push, and shows it on stderr: on a terminal as it goes on, else the end alone."""

    def __init__(self) -> None:
        self._outlets = Streams()
        self._progress: TransferProgress | None = None

    def __call__(self, event: events.Event) -> None:
        match event:
            case events.FetchAdvanced():
                self._advance("fetch", "from", event.node, event.received, event.total)
            case events.SyncAdvanced():
                self._advance("push", "to", event.node, event.sent, event.total)
            case events.Warned():
                self.say(f"warning: {event.message}", "yellow")

    def _advance(self, verb: str, way: str, node: str, moved: int, total: int) -> None:
        if self._progress is None:
            self._progress = TransferProgress(verb, way)
            self._outlets.draw(self._progress.rows)
        self._progress.hear(node, moved, total)
        self._outlets.refresh()

    def tell(self, event: events.Fetched, *, is_rehearsal: bool = False) -> None:
        """Say what came of one node, or would."""
        self._outlets.draw(None)
        self.say(rehearsed(event) if is_rehearsal else fetched(event))

    def say(self, text: str, colour: str | None = None) -> None:
        """Say one line, or a few."""
        self._outlets.say(text, colour)

    def close(self) -> None:
        """Leave the terminal as it was, with everything written."""
        self._outlets.draw(None)
        self._outlets.close(b"", None)
