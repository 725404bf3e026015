"""What a person at a terminal wants to see of a running job, all the time: a few rows of it.

One row for the whole run, one for each node (those that are alike are one where there are many), and
the latest thing that went wrong. Events come from one thread, rows are drawn by another.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator import events
from orchestrator.logs.harmless import without_colour
from orchestrator.logs.metrics import metrics
from orchestrator.logs.select import RankSet
from orchestrator.plan import Plan
from orchestrator.ui import words
from orchestrator.ui.terminal import Row, columns

SHARE = 3  # the panel takes one line in so many
_LOWEST, _NARROWEST = 6, 24  # a terminal below this has no panel
_NAME = 24  # columns of the widest name
_RATE_SECONDS = 2.0
_NOTICE_SECONDS = 30.0
# Of the last output, in which numbers are looked for.
_TAIL = 4096  # bytes
_LINES = 8
_LINE_ENDS = re.compile(rb"[\r\n]+")

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


@dataclass
class _Node:
    """One node: what became of it, and what its lowest rank said last."""

    name: str
    ranks: range
    state: str = "starting"
    detail: str = ""
    lost_at: float | None = None
    rate: _Rate = field(default_factory=_Rate)
    speaker: int | None = None
    tails: dict[str, bytes] = field(default_factory=dict)
    numbers: str = ""
    processes: dict[int, int] = field(default_factory=dict)  # pid by local rank

    def begins(self, event: events.RankBegan) -> bool:
        """Take in that a rank began; return whether it did so anew, whose earlier end is forgiven."""
        known = self.processes.get(event.local_rank, event.pid)
        is_anew = event.attempt > 0 or known != event.pid
        if is_anew:
            self.state, self.detail = "running", ""
        self.processes[event.local_rank] = event.pid
        first = event.rank - event.local_rank
        if first != self.ranks.start:  # an elastic job has numbered them otherwise
            self.ranks = range(first, first + len(self.ranks))
            self.speaker = None
        return is_anew

    def state_in_words(self, now: float) -> str:
        if self.lost_at is not None:
            return f"unreachable {words.duration(now - self.lost_at)}"
        return self.detail or self.state

    def numbers_said(self) -> str:
        """Return the last numbers that its lowest rank reported: `loss=0.3421 step=120`."""
        for channel, tail in self.tails.items():  # the channel that spoke last comes last
            *lines, self.tails[channel] = _LINE_ENDS.split(tail)
            self.numbers = _last_numbers(lines) or self.numbers
        return self.numbers


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
        keys: Sequence[str] = words.KEYS,
        began: float | None = None,
        limit: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = plan.run
        self._nodes = {node.name: _Node(node.name, node.ranks) for node in plan.nodes}
        self._colours = colours
        self._keys = keys
        self._clock = clock
        self._limit = "" if limit is None else f" of {_clock_time(limit)}"
        self._began = clock() if began is None else clock() - max(0.0, time.time() - began)
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
                case events.Following() | events.NodeBack():
                    self._runs(event.node)
                case events.NodeLost():
                    node = self._nodes.get(event.node)
                    if node and node.lost_at is None and node.state != "left":
                        node.lost_at = self._clock()
                    self._say(words.node_lost(event), "33")
                case events.NodeEnded():
                    self._node_ended(event)
                case events.NodeLeft():
                    if node := self._nodes.get(event.node):
                        node.state, node.detail, node.lost_at = "left", "", None
                    self._say(words.node_left(event), "33")
                case events.Stopping():
                    self._state = "stopping"
                    self._say(words.stopping(event), "33")
                case events.Stalled():
                    self._say(f"stalled: {event.suspect or ' · '.join(event.stacks)}", "33")
                case events.Resumed():
                    self._say(words.resumed(event), "32")
                case events.Warned():
                    self._say(event.message, "33")
                case events.Ended():
                    self._state = "ended"
                    self._keys = ("Ctrl-C skips what is left to show",)
                    self._say(event.summary, "32" if event.exit_code == 0 else "31")

    def _heard(self, event: events.Output) -> None:
        stream = event.stream
        node = self._nodes.get(stream.node)
        if node is None:
            return
        node.rate.total += len(event.data)
        self._rate.total += len(event.data)
        if node.state == "starting":
            node.state = "running"
        if stream.rank is None or (node.speaker is not None and stream.rank > node.speaker):
            return
        if stream.rank != node.speaker:
            node.speaker = stream.rank
            node.tails.clear()
        tail = node.tails.pop(stream.channel, b"") + event.data[-_TAIL:]
        node.tails[stream.channel] = tail[-_TAIL:]

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
        node.state, node.detail = "failed", words.rank_end(event)
        self._say(words.rank_ended(event), "31")

    def _node_ended(self, event: events.NodeEnded) -> None:
        if node := self._nodes.get(event.node):
            node.lost_at = None
            if node.state not in ("failed", "left"):
                node.state = event.state if event.state in _STYLES else "ended"

    def _say(self, text: str, style: str) -> None:
        self._notice = (text.split("\n", 1)[0], style, self._clock())

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
                *self._table(self._groups(room - (notice is not None)), now),
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
        parts = {
            "run": f"── {self._run}",
            "clock": _clock_time(now - self._began) + self._limit,
            "state": self._state,
            "ranks": words.count(sum(len(node.ranks) for node in staying), "rank"),
            "nodes": words.count(len(staying), "node"),
            "rate": f"{words.size(self._rate.a_second(now))}/s",
            "bytes": words.size(self._rate.total),
        } | {key: key for key in self._keys}
        parts = {name: part for name, part in parts.items() if part}
        for least in ("bytes", "nodes", "rate", "ranks", *reversed(self._keys)):
            if columns(" · ".join(parts.values())) <= width:
                break
            del parts[least]
        run, *others = parts.values()
        return ((run, "1"), ("".join(f" · {part}" for part in others), "2"))

    def _groups(self, room: int) -> list[list[_Node]]:
        """Return nodes that share a row, at most `room` of them.

        Where there are too many for a row each, the rows first go to those that are not as most are.
        """
        nodes = list(self._nodes.values())
        if len(nodes) <= room:
            return [[node] for node in nodes]
        states: dict[str, list[_Node]] = {state: [] for state in _WORST_FIRST}
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

    def _table(self, groups: Sequence[Sequence[_Node]], now: float) -> list[Row]:
        """Return a row for each group, in columns."""
        cells = [self._cells(group, now) for group in groups]
        widths = [max(columns(row[column][0]) for row in cells) for column in range(4)]
        rows = []
        for row in cells:
            padded = [
                (text + " " * (width - columns(text)), style)
                for (text, style), width in zip(row, widths, strict=False)
            ]
            rows.append(
                tuple(cell for each in (*padded, row[4]) for cell in (each, ("  ", "")))[:-1]
            )
        return rows

    def _cells(self, group: Sequence[_Node], now: float) -> list[tuple[str, str]]:
        first = group[0]
        rate = sum(node.rate.a_second(now) for node in group)
        names = first.name if len(group) == 1 else _folded(tuple(node.name for node in group))
        states = list(dict.fromkeys(node.state_in_words(now) for node in group))
        if len(states) > 1:  # the same in other words: since when, which rank
            states = sorted({_state(node) for node in group}, key=_WORST_FIRST.index)
        return [
            (_cut(names), self._colours.get(first.name, "") if len(group) == 1 else "1"),
            (_cut(_ranks(group)), "2"),
            (", ".join(states), _STYLES[min((_state(n) for n in group), key=_WORST_FIRST.index)]),
            (f"{words.size(rate):>8}/s", "2"),
            (first.numbers_said(), ""),
        ]


def _last_numbers(lines: Sequence[bytes]) -> str:
    for line in reversed(lines[-_LINES:]):
        found = metrics(without_colour(line.decode(errors="replace")))
        if found:
            return " ".join(f"{name}={value}" for name, value in found)
    return ""


def _state(node: _Node) -> str:
    return node.state if node.lost_at is None else "unreachable"


def _ranks(group: Sequence[_Node]) -> str:
    """Return `r0-7`, `r0-7,16-23`."""
    return f"r{RankSet.of(rank for node in group for rank in node.ranks)}"


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
