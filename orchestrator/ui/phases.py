"""How the phases before the start go: what is launched, each phase with its time, who is waited for.

On a terminal this stays at the bottom until the ranks run.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.ui.messages import INDENT
from orchestrator.ui.terminal import Row, columns
from orchestrator.util.text import format_size, some

_NAMED = 4  # so many of the nodes that are waited for are named


class Phases:
    """Hears of phases; `summary` says how long each took."""

    def __init__(self) -> None:
        self._ended: list[tuple[str, float, str]] = []
        self._current: str | None = None
        self._nodes: Sequence[str] = ()
        self._done: dict[str, bool] = {}
        self._sync: dict[str, tuple[int, int]] = {}
        self._saying: list[str] = []

    def begin(self, phase: str, nodes: Sequence[str]) -> None:
        """`phase` begins, with these `nodes` to go."""
        self._current, self._nodes, self._done = phase, nodes, {}

    def advance(self, phase: str, node: str, succeeded: bool) -> None:
        """`node` is done with `phase`."""
        self._done[node] = succeeded

    def sync(self, node: str, sent: int, total: int) -> None:
        """`node` has `sent` of `total` bytes."""
        self._sync[node] = (sent, total)

    def end(self, phase: str, seconds: float, detail: str) -> None:
        """`phase` took `seconds`."""
        self._ended.append((phase, seconds, detail))
        self._current = None

    def say(self, text: str) -> None:
        """Keep a line in the header, and print it with the summary."""
        self._saying.append(text)

    def take_header(self) -> str:
        """Return what is launched, and leave it out of the summary."""
        said, self._saying = self._saying, []
        return f"\n{INDENT}".join(said)

    def summary(self, width: int | None = None) -> str:
        """Return what is launched, and below it the phases and their times.

        No phase is broken in two in a terminal of `width` columns (None: a pipe, which gets one line).
        """
        lines: list[str] = []
        for phase, seconds, detail in self._ended:
            took = f"{phase} {seconds:.2f} s" + (f" ({detail})" if detail else "")
            if lines and (width is None or columns(f"{INDENT}{lines[-1]} · {took}") <= width):
                lines[-1] += f" · {took}"
            else:
                lines.append(took)
        return f"\n{INDENT}".join([*self._saying, *lines])

    def rows(self, width: int, height: int) -> list[Row]:
        """Return the header as it is now, its phases in rows of at most `width` columns.

        Where there is no room for all of it in `height` lines, its end is what matters.
        """
        rows: list[Row] = [((part, "1"),) for line in self._saying for part in line.split("\n")]
        room = 0
        for phase, seconds, detail in tuple(self._ended):
            took, more = f"{phase} {seconds:.2f} s  ", f"{detail}  " if detail else ""
            needed = columns(f"✓ {took}{more}")
            if needed > room:
                rows.append(())
                room = width
            rows[-1] += (("✓ ", "32"), (took, ""), (more, "2"))
            room -= needed
        current = self._current
        if current is not None:
            rows.append(((f"{current} ", "1;36"), (self._progress(current), "")))
        return rows[-max(1, height - 1) :]

    def _progress(self, phase: str) -> str:
        done, sync = dict(self._done), dict(self._sync)  # as they are now: another thread draws
        if phase == "sync" and sync:
            sent = sum(done for done, _ in sync.values())
            total = sum(all_of_it for _, all_of_it in sync.values())
            return f"{format_size(sent)} of {format_size(total)} to {len(sync)} nodes"
        if not done:
            return f"{len(self._nodes)} nodes"
        text = f"{len(done)}/{len(self._nodes)}"
        failed = [node for node, succeeded in done.items() if not succeeded]
        waited_for = [node for node in self._nodes if node not in done]
        if failed:
            text += f", not {some(failed, _NAMED)}"
        if waited_for:
            text += f", waiting for {some(waited_for, _NAMED)}"
        return text
