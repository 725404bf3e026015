"""The phases before the ranks start: what is launched, how long each phase took, which nodes are pending.

On a terminal this stays at the bottom until the ranks run.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.ui.messages import INDENT
from orchestrator.ui.terminal import Row, columns
from orchestrator.util.text import first_few, format_size

_MAX_NAMES = 4  # of pending or failed nodes that are named


class Phases:
    """Collects what happens in the phases; `rows` shows it as it is, `summary` how long each phase took."""

    def __init__(self) -> None:
        self._ended: list[tuple[str, float, str]] = []
        self._current: str | None = None
        self._nodes: Sequence[str] = ()
        self._done: dict[str, bool] = {}
        self._sync: dict[str, tuple[int, int]] = {}
        self._header: list[str] = []

    def begin(self, phase: str, nodes: Sequence[str]) -> None:
        """Start a phase of these nodes."""
        self._current, self._nodes, self._done = phase, nodes, {}

    def advance(self, node: str, succeeded: bool) -> None:
        """Note that `node` has finished the current phase."""
        self._done[node] = succeeded

    def sync(self, node: str, sent: int, total: int) -> None:
        """Note that `sent` of `total` bytes were sent to `node`."""
        self._sync[node] = (sent, total)

    def end(self, phase: str, seconds: float, detail: str) -> None:
        """Note that a phase took `seconds`."""
        self._ended.append((phase, seconds, detail))
        self._current = None

    def add_header(self, text: str) -> None:
        """Add to what is launched: lines above the phases."""
        self._header.append(text)

    def take_header(self) -> str:
        """Return what is launched, and leave it out of the summary."""
        header, self._header = self._header, []
        return f"\n{INDENT}".join(header)

    def summary(self, width: int | None = None) -> str:
        """Return what is launched, and below it the phases with their times.

        Lines break between phases in a terminal of `width` columns (None: a pipe, which gets one line).
        """
        lines: list[str] = []
        for phase, seconds, detail in self._ended:
            took = f"{phase} {seconds:.2f} s" + (f" ({detail})" if detail else "")
            if lines and (width is None or columns(f"{INDENT}{lines[-1]} · {took}") <= width):
                lines[-1] += f" · {took}"
            else:
                lines.append(took)
        return f"\n{INDENT}".join([*self._header, *lines])

    def rows(self, width: int, height: int) -> list[Row]:
        """Return the header and the phases in rows of at most `width` columns, the last ones if there are
        too many for `height` lines.
        """
        rows: list[Row] = [((part, "1"),) for line in self._header for part in line.split("\n")]
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
        done, sync = dict(self._done), dict(self._sync)  # another thread draws
        if phase == "sync" and sync:
            sent, total = map(sum, zip(*sync.values(), strict=True))
            return f"{format_size(sent)} of {format_size(total)} to {len(sync)} nodes"
        if not done:
            return f"{len(self._nodes)} nodes"
        text = f"{len(done)}/{len(self._nodes)}"
        failed = [node for node, succeeded in done.items() if not succeeded]
        pending = [node for node in self._nodes if node not in done]
        if failed:
            text += f", failed on {first_few(failed, _MAX_NAMES)}"
        if pending:
            text += f", waiting for {first_few(pending, _MAX_NAMES)}"
        return text
