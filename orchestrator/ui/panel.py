"""The panel: a few rows about a running job at the bottom of a terminal.

One row for the run, one for each node (or for several nodes in the same state, where there are many), and
the latest problem. Events come from one thread, rows are drawn by another.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from orchestrator import events
from orchestrator.inventory.ranges import fold
from orchestrator.plan import Plan
from orchestrator.ui import messages, panel_node
from orchestrator.ui.panel_node import PanelNode
from orchestrator.ui.terminal import SGR, Row, columns
from orchestrator.util.numbers import folded
from orchestrator.util.text import counted, first_line, format_size

_MAX_SHARE = 3  # the panel takes at most one line in this many
_MIN_HEIGHT, _MIN_WIDTH = 6, 24  # of a terminal that has a panel
_MAX_NAME = 24  # columns
_RATE_INTERVAL = 2.0  # seconds
_NOTICE_DURATION = 30.0
_NUMBERS_WIDTH = 24  # columns that a node's metrics should have

# The worst first.
_STYLES = {
    "failed": "31",
    "lost": "31",
    "absent": "31",
    "unreachable": "33",
    "left": "33",
    "starting": "2",
    "stopping": "33",
    "running": "",
    "ended": "32",
}
_WORST_FIRST = list(_STYLES)


class _Rate:
    """A number of bytes, and how many come per second."""

    def __init__(self) -> None:
        self.total = 0
        self._counted = 0
        self._since: float | None = None
        self._rate = 0.0

    def per_second(self, now: float) -> float:
        if self._since is None:
            self._since = now
        elif now - self._since >= _RATE_INTERVAL:
            self._rate = (self.total - self._counted) / (now - self._since)
            self._counted, self._since = self.total, now
        return self._rate


class Panel:
    """Takes in the events of the run of `plan` and returns the rows to draw.

    `colours` has an SGR parameter for each node; `keys` describes the keys that the user can press;
    `began` is when the run started (seconds since the epoch), None for now, and `limit` its time limit in
    seconds (None: none).
    """

    def __init__(
        self,
        plan: Plan,
        colours: Mapping[str, bytes],
        keys: Sequence[str] = messages.KEYS,
        began: float | None = None,
        limit: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = plan.run
        self._nodes = {
            node.name: PanelNode(node.name, node.ranks, began is None) for node in plan.nodes
        }
        self._colours = colours
        self._keys = keys
        self._clock = clock
        self._limit = "" if limit is None else f" of {_clock_time(limit)}"
        self._began = clock() if began is None else self._on_clock(began)
        self._is_replayed = began is not None
        self._rate = _Rate()
        self._state = ""
        self._notice: tuple[str, str, float] | None = None
        self._slow: dict[tuple[int, ...], str] = {}  # what holds up the run now, by the ranks
        self._lock = threading.Lock()

    def update(self, event: events.Event) -> None:
        """Take in an event."""
        with self._lock:
            match event:
                case events.Output():
                    self._output(event)
                case events.RankBegan():
                    if self._node(event.node).rank_began(event):
                        self._notice = None
                case events.RankEnded():
                    self._rank_ended(event)
                case events.GpusSampled():
                    self._node(event.node).sampled(event.gpus, self._on_clock(event.time))
                case events.Following() | events.NodeBack():
                    self._node(event.node).reached()
                case events.NodeLost():
                    self._node(event.node).lost(self._clock())
                    self._note(messages.node_lost(event), "yellow")
                case events.NodeEnded():
                    state = event.state if event.state in _STYLES else "ended"
                    self._node(event.node).ended(state)
                case events.NodeLeft():
                    self._node(event.node).left()
                    self._note(messages.node_left(event), "yellow")
                case events.Stopping():
                    self._state = "stopping"
                    self._note(messages.stopping(event), "yellow")
                case events.Stalled():
                    self._note(f"stalled: {event.suspect or ' · '.join(event.stacks)}", "yellow")
                case events.Resumed():
                    self._note(messages.resumed(event), "green")
                case events.Straggling():
                    self._slow[event.ranks] = messages.straggling(event)
                case events.CaughtUp():
                    self._slow.pop(event.ranks, None)
                    self._note(messages.caught_up(event), "green")
                case events.Restarting():
                    self._slow.clear()
                case events.Warned():
                    self._note(event.message, "yellow")
                case events.Ended():
                    self._state = "ended"
                    self._keys = ("Ctrl-C skips the rest of the output",)
                    self._note(event.summary, "green" if event.exit_code == 0 else "red")

    def _node(self, name: str) -> PanelNode:
        """Return a node; one that is not drawn if it is not of this run."""
        return self._nodes.get(name) or PanelNode(name, range(0))

    def _output(self, event: events.Output) -> None:
        if node := self._nodes.get(event.stream.node):
            self._rate.total += len(event.data)
            # Replayed output comes as fast as it is read; live output is dated by the controller's clock.
            node.output(event, self._on_clock(event.time) if self._is_replayed else self._clock())

    def _on_clock(self, t: float) -> float:
        """Return the time `t` (seconds since the epoch) on the panel's clock."""
        return self._clock() - max(0.0, time.time() - t)

    def _rank_ended(self, event: events.RankEnded) -> None:
        node = self._nodes.get(event.node)
        if event.code == 0 or node is None or node.state in ("failed", "left"):
            return
        if self._state == "stopping":  # as requested
            return
        node.state, node.detail = "failed", messages.rank_ended_briefly(event)
        self._note(messages.rank_ended(event), "red")

    def _note(self, text: str, colour: str) -> None:
        self._notice = (first_line(text), SGR[colour], self._clock())

    # -- drawing -------------------------------------------------------------------------------

    def rows(self, width: int, height: int) -> list[Row]:
        """Return the rows for a terminal of `width` columns and `height` lines; none if it is tiny."""
        if height < _MIN_HEIGHT or width < _MIN_WIDTH:
            return []
        with self._lock:
            now = self._clock()
            room = height // _MAX_SHARE - 1
            notice = self._notice_row(now) if room > 1 else None
            return [
                self._head(width, now),
                *self._table(self._groups(room - (notice is not None)), width, now),
                *([notice] if notice else []),
            ]

    def _notice_row(self, now: float) -> Row | None:
        if self._notice is not None and now - self._notice[2] < _NOTICE_DURATION:
            text, style, _ = self._notice
            return (("! " + text, style),)
        if self._slow and self._state != "ended":
            return (("! " + " · ".join(map(first_line, self._slow.values())), SGR["yellow"]),)
        return None

    def _head(self, width: int, now: float) -> Row:
        """Return the row of the run, without its least important parts if the terminal is narrow."""
        staying = [node for node in self._nodes.values() if node.state != "left"]
        rate = self._rate.per_second(now)
        parts = {
            "run": f"── {self._run}",
            "clock": _clock_time(now - self._began) + self._limit,
            "state": self._state,
            "ranks": counted(sum(len(node.ranks) for node in staying), "rank"),
            "nodes": counted(len(staying), "node"),
            "output": f"output {format_size(self._rate.total)}, {format_size(rate)}/s",
        } | {key: key for key in self._keys}
        parts = {name: part for name, part in parts.items() if part}
        for least in ("output", "nodes", "ranks", *reversed(self._keys)):
            if columns(" · ".join(parts.values())) <= width:
                break
            del parts[least]
        run, *others = parts.values()
        return ((run, "1"), ("".join(f" · {part}" for part in others), "2"))

    def _groups(self, room: int) -> list[list[PanelNode]]:
        """Return at most `room` groups of nodes; each group gets a row.

        If there are more nodes than rows, those in an unusual state get rows of their own first.
        """
        nodes = list(self._nodes.values())
        if len(nodes) <= room:
            return [[node] for node in nodes]
        states: dict[str, list[PanelNode]] = {state: [] for state in _WORST_FIRST}
        for node in nodes:
            states["unreachable" if node.lost_at is not None else node.state].append(node)
        groups = [group for group in states.values() if group]
        if len(groups) > room:
            rest = [node for group in groups[room - 1 :] for node in group]
            return [*groups[: room - 1], rest]
        usual = max(groups, key=len)
        spare = room - len(groups)
        result = []
        for group in groups:
            if group is not usual and len(group) - 1 <= spare:
                spare -= len(group) - 1
                result += [[node] for node in group]
            else:
                result.append(group)
        return result

    def _table(self, groups: Sequence[Sequence[PanelNode]], width: int, now: float) -> list[Row]:
        """Return a row for each group, with fewer columns until the metrics have room."""
        numbers = [group[0].numbers() for group in groups]
        wanted = min(_NUMBERS_WIDTH, max(map(columns, numbers)))
        cells = [self._cells(group, now) for group in groups]
        for layout in _LAYOUTS:
            rows = [[each[column] for column in layout] for each in cells]
            widths = [
                max(columns(text) for text, _ in column) for column in zip(*rows, strict=True)
            ]
            if layout is _LAYOUTS[-1] or sum(w + 2 for w in widths if w) + wanted <= width:
                return [
                    (*_padded(row, widths), (text, ""))
                    for row, text in zip(rows, numbers, strict=True)
                ]
        raise AssertionError("the last layout is taken")

    def _cells(self, group: Sequence[PanelNode], now: float) -> dict[str, tuple[str, str]]:
        """Return the text and style of a group's row in each column of any layout."""
        first = group[0]
        names = first.name if len(group) == 1 else _folded(tuple(node.name for node in group))
        states = list(dict.fromkeys(node.describe_state(now) for node in group))
        if len(states) > 1:  # without the details: since when, which rank
            states = sorted({_state(node) for node in group}, key=_WORST_FIRST.index)
        worst = min((_state(node) for node in group), key=_WORST_FIRST.index)
        cells = {
            "name": (
                _cut(names),
                self._colours.get(first.name, b"").decode() if len(group) == 1 else "1",
            ),
            "ranks": (_cut(_ranks(group)), "2"),
            "state": (", ".join(states), _STYLES[worst]),
            "printed": (panel_node.printed(group, now), "2"),
            "ago": (panel_node.printed(group, now, brief=True), "2"),
            "gpus": (panel_node.gpus(group, now), ""),
        }
        cells["condition"] = cells["ago" if worst == "running" else "state"]
        return cells


# From the widest terminal to the narrowest.
_LAYOUTS = (
    ("name", "ranks", "state", "printed", "gpus"),
    ("name", "state", "printed", "gpus"),
    ("name", "state", "ago", "gpus"),
    ("name", "condition", "gpus"),
    ("name", "condition"),
)


def _padded(row: Sequence[tuple[str, str]], widths: Sequence[int]) -> Row:
    """Return cells padded to the widths of their columns, two apart; empty columns are left out."""
    return tuple(
        (text + " " * (width - columns(text) + 2), style)
        for (text, style), width in zip(row, widths, strict=True)
        if width
    )


@lru_cache(maxsize=64)  # folding a thousand names takes longer than the rest of a frame
def _folded(names: tuple[str, ...]) -> str:
    return fold(names)


def _state(node: PanelNode) -> str:
    return node.state if node.lost_at is None else "unreachable"


def _ranks(group: Sequence[PanelNode]) -> str:
    """Return `r0-7`, `r0-7,16-23`; empty for nodes without ranks."""
    ranks = [rank for node in group for rank in node.ranks]
    return f"r{folded(ranks)}" if ranks else ""


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_NAME else f"{text[: _MAX_NAME - 1]}…"


def _clock_time(seconds: float) -> str:
    """Return `0:12`, `1:02:03`."""
    minutes, second = divmod(int(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"
