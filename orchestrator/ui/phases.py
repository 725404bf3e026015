"""Show how the phases before the start go: live on a terminal, else only what took long.

On a terminal a header stays at the bottom until the ranks run: what is launched, each phase with its
time, and who is still waited for. Nothing is drawn for a launch that is ready within a moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

_NAMED = 4  # so many of the nodes that are waited for are named


class Phases:
    """Hears of phases; `summary` says how long each took."""

    def __init__(self, live: bool) -> None:
        self._wants_live = live
        self._live: Live | None = None
        self._ended: list[tuple[str, float, str]] = []
        self._current: str | None = None
        self._nodes: Sequence[str] = ()
        self._done: dict[str, bool] = {}
        self._sync: dict[str, tuple[int, int]] = {}
        self._saying: list[str] = []

    def begin(self, phase: str, nodes: Sequence[str]) -> None:
        """`phase` begins, with these `nodes` to go."""
        self._current, self._nodes = phase, nodes
        self._done.clear()
        if self._wants_live and self._live is None:
            self._live = _start_live(self)

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

    def summary(self) -> str:
        """Return what is launched, and on a second line the phases and their times."""
        phases = " · ".join(
            f"{phase} {seconds:.2f} s" + (f" ({detail})" if detail else "")
            for phase, seconds, detail in self._ended
        )
        return "\n      ".join([*self._saying, phases])

    def close(self) -> None:
        """Take the live header away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def render(self, width: int) -> Text:
        """Return the live header as it is now, its phases in lines of at most `width` columns."""
        from rich.text import Text

        text = Text(no_wrap=True, overflow="ellipsis")
        for line in self._saying:
            text.append(f"{line}\n", "bold")
        room = width
        for phase, seconds, detail in self._ended:
            took, more = f"{phase} {seconds:.2f} s  ", f"{detail}  " if detail else ""
            needed = len(f"✓ {took}{more}")
            if needed > room < width:
                text.append("\n")
                room = width
            text.append("✓ ", "green").append(took).append(more, "dim")
            room -= needed
        if self._current is not None:
            text.append("\n" if self._ended else "")
            text.append(f"{self._current} ", "bold cyan").append(self._progress())
        return text

    def _progress(self) -> str:
        if self._current == "sync" and self._sync:
            sent = sum(done for done, _ in self._sync.values())
            total = sum(size for _, size in self._sync.values())
            return f"{_bytes(sent)} of {_bytes(total)} to {len(self._sync)} nodes"
        if not self._done:
            return f"{len(self._nodes)} nodes"
        text = f"{len(self._done)}/{len(self._nodes)}"
        failed = [node for node, succeeded in self._done.items() if not succeeded]
        waited_for = [node for node in self._nodes if node not in self._done]
        if failed:
            text += f", not {_some(failed)}"
        if waited_for:
            text += f", waiting for {_some(waited_for)}"
        return text


def _some(nodes: Sequence[str]) -> str:
    more = "" if len(nodes) <= _NAMED else f" and {len(nodes) - _NAMED} more"
    return f"{', '.join(nodes[:_NAMED])}{more}"


def _start_live(phases: Phases) -> Live:
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True, highlight=False)
    live = Live(
        get_renderable=lambda: phases.render(console.width),
        console=console,
        refresh_per_second=10,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    live.start()
    return live


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError("unreachable")
