"""What a person at a terminal wants to see of a running job, all the time: a few rows of it.

One row for the whole run, one for each node (those that are alike are one where there are many), and
the latest thing that went wrong. Events come from one thread, rows are drawn by another.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from orchestrator import events
from orchestrator.plan import Plan
from orchestrator.ui import messages, panel_node
from orchestrator.ui.panel_node import PanelNode
from orchestrator.ui.terminal import Row, columns
from orchestrator.util.numbers import folded
from orchestrator.util.text import counted, first_line, format_size

SHARE = 3  # the panel takes one line in so many
_LOWEST, _NARROWEST = 6, 24  # a terminal below this has no panel
_NAME = 24  # columns of the widest name
_RATE_SECONDS = 2.0
_NOTICE_SECONDS = 30.0
_NUMBERS = 24  # columns that a node's numbers should have

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
    """Bytes, and how many come a second."""

    def __init__(self) -> None:
        self.total = 0
        self._counted = 0
        self._since: float | None = None
        self._rate = 0.0

    def a_second(self, now: float) -> float:
        if self._since is None:
            self._since = now
        elif now - self._since >= _RATE_SECONDS:
            self._rate = (self.total - self._counted) / (now - self._since)
            self._counted, self._since = self.total, now
        return self._rate


class Panel:
    """Hears the events of the run of `plan` and gives the rows.

    `colours` has an SGR for each node; `keys` says what a person can press; `began` is when the run
    began (seconds since the epoch), None for as soon as it is started, and `limit` how many seconds it
    may take (None: any number).
    """

    def __init__(
        self,
        plan: Plan,
        colours: Mapping[str, str],
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
        self._began = clock() if began is None else self._moment(began)
        self._is_replayed = began is not None
        self._rate = _Rate()
        self._state = ""
        self._notice: tuple[str, str, float] | None = None
        self._lock = threading.Lock()

    def hear(self, event: events.Event) -> None:
        """Take in what happened."""
        with self._lock:
            match event:
                case events.Output():
                    self._heard(event)
                case events.RankBegan():
                    self._runs(event.node)
                    if (node := self._nodes.get(event.node)) and node.begins(event):
                        self._notice = None
                case events.RankEnded():
                    self._rank_ended(event)
                case events.GpusSampled():
                    if node := self._nodes.get(event.node):
                        node.gpus, node.sampled_at = event.gpus, self._moment(event.time)
                case events.Following() | events.NodeBack():
                    self._runs(event.node)
                case events.NodeLost():
                    node = self._nodes.get(event.node)
                    if node and node.lost_at is None and node.state != "left":
                        node.lost_at = self._clock()
                    self._say(messages.node_lost(event), "33")
                case events.NodeEnded():
                    self._node_ended(event)
                case events.NodeLeft():
                    if node := self._nodes.get(event.node):
                        node.state, node.detail, node.lost_at = "left", "", None
                    self._say(messages.node_left(event), "33")
                case events.Stopping():
                    self._state = "stopping"
                    self._say(messages.stopping(event), "33")
                case events.Stalled():
                    self._say(f"stalled: {event.suspect or ' · '.join(event.stacks)}", "33")
                case events.Resumed():
                    self._say(messages.resumed(event), "32")
                case events.Warned():
                    self._say(event.message, "33")
                case events.Ended():
                    self._state = "ended"
                    self._keys = ("Ctrl-C skips what is left to show",)
                    self._say(event.summary, "32" if event.exit_code == 0 else "31")

    def _heard(self, event: events.Output) -> None:
        if node := self._nodes.get(event.stream.node):
            self._rate.total += len(event.data)
            # What is past comes as fast as it is read; what is news is so when it comes, by our own clock.
            node.hears(event, self._moment(event.time) if self._is_replayed else self._clock())

    def _moment(self, t: float) -> float:
        """Return by our clock when it was `t`, in seconds since the epoch."""
        return self._clock() - max(0.0, time.time() - t)

    def _runs(self, name: str) -> None:
        if node := self._nodes.get(name):
            node.lost_at = None
            if node.state == "starting":
                node.state = "running"

    def _rank_ended(self, event: events.RankEnded) -> None:
        node = self._nodes.get(event.node)
        if event.code == 0 or node is None or node.state in ("failed", "left"):
            return
        if self._state == "stopping":  # it was told to
            return
        node.state, node.detail = "failed", messages.rank_end(event)
        self._say(messages.rank_ended(event), "31")

    def _node_ended(self, event: events.NodeEnded) -> None:
        if node := self._nodes.get(event.node):
            node.lost_at = None
            if node.state not in ("failed", "left"):
                node.state = event.state if event.state in _STYLES else "ended"

    def _say(self, text: str, style: str) -> None:
        self._notice = (first_line(text), style, self._clock())

    # -- drawing -------------------------------------------------------------------------------

    def rows(self, width: int, height: int) -> list[Row]:
        """Return the rows for a terminal of `width` columns and `height` lines; none if it is tiny."""
        if height < _LOWEST or width < _NARROWEST:
            return []
        with self._lock:
            now = self._clock()
            room = height // SHARE - 1
            notice = self._notice_row(now) if room > 1 else None
            return [
                self._head(width, now),
                *self._table(self._groups(room - (notice is not None)), width, now),
                *([notice] if notice else []),
            ]

    def _notice_row(self, now: float) -> Row | None:
        if self._notice is None:
            return None
        text, style, said_at = self._notice
        return (("! " + text, style),) if now - said_at < _NOTICE_SECONDS else None

    def _head(self, width: int, now: float) -> Row:
        """Return the row of the whole run; what matters least is left out where there is no room."""
        staying = [node for node in self._nodes.values() if node.state != "left"]
        rate = self._rate.a_second(now)
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
        """Return nodes that share a row, at most `room` of them.

        Where there are too many for a row each, the rows first go to those that are not as most are.
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
        """Return a row for each group, in columns that give way until the numbers have room."""
        numbers = [group[0].numbers() for group in groups]
        wanted = min(_NUMBERS, max(map(columns, numbers)))
        for layout in _LAYOUTS:
            rows = [self._cells(group, layout, now) for group in groups]
            widths = [
                max(columns(text) for text, _ in column) for column in zip(*rows, strict=True)
            ]
            if layout is _LAYOUTS[-1] or sum(w + 2 for w in widths if w) + wanted <= width:
                return [
                    (*_padded(row, widths), (said, ""))
                    for row, said in zip(rows, numbers, strict=True)
                ]
        raise AssertionError("the last layout is taken")

    def _cells(
        self, group: Sequence[PanelNode], layout: Sequence[str], now: float
    ) -> list[tuple[str, str]]:
        first = group[0]
        names = first.name if len(group) == 1 else _folded(tuple(node.name for node in group))
        states = list(dict.fromkeys(node.state_in_words(now) for node in group))
        if len(states) > 1:  # the same in other words: since when, which rank
            states = sorted({_state(node) for node in group}, key=_WORST_FIRST.index)
        worst = min((_state(node) for node in group), key=_WORST_FIRST.index)
        cells = {
            "name": (_cut(names), self._colours.get(first.name, "") if len(group) == 1 else "1"),
            "ranks": (_cut(_ranks(group)), "2"),
            "state": (", ".join(states), _STYLES[worst]),
            "printed": (panel_node.printed(group, now), "2"),
            "ago": (panel_node.printed(group, now, brief=True), "2"),
            "gpus": (panel_node.gpus(group, now), ""),
        }
        cells["condition"] = cells["ago" if worst == "running" else "state"]
        return [cells[column] for column in layout]


# From the widest terminal to the narrowest.
_LAYOUTS = (
    ("name", "ranks", "state", "printed", "gpus"),
    ("name", "state", "printed", "gpus"),
    ("name", "state", "ago", "gpus"),
    ("name", "condition", "gpus"),
    ("name", "condition"),
)


def _padded(row: Sequence[tuple[str, str]], widths: Sequence[int]) -> Row:
    """Return cells as wide as their columns, two apart; a column without anything in it takes no room."""
    return tuple(
        (text + " " * (width - columns(text) + 2), style)
        for (text, style), width in zip(row, widths, strict=True)
        if width
    )


def _state(node: PanelNode) -> str:
    return node.state if node.lost_at is None else "unreachable"


def _ranks(group: Sequence[PanelNode]) -> str:
    """Return `r0-7`, `r0-7,16-23`."""
    return f"r{folded(rank for node in group for rank in node.ranks)}"


def _folded(names: tuple[str, ...]) -> str:
    from orchestrator.inventory.ranges import fold  # 20 ms, which few runs need

    return fold(names)


def _cut(text: str) -> str:
    return text if len(text) <= _NAME else f"{text[: _NAME - 1]}…"


def _clock_time(seconds: float) -> str:
    """Return `0:12`, `1:02:03`."""
    minutes, second = divmod(int(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"
