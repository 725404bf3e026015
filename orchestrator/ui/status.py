"""Show one run: a table of its nodes and ranks, or everything as JSON."""

from __future__ import annotations

import textwrap
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from orchestrator.api.status import AttemptStatus, NodeStatus, RankStatus, RunStatus
from orchestrator.inventory.ranges import fold
from orchestrator.ui import messages, verdict
from orchestrator.ui.table import Cell, Column, stdout_size, table, write, write_json
from orchestrator.ui.terminal import paint, printable, wants_colour
from orchestrator.util.durations import age, duration, lifetime
from orchestrator.util.numbers import folded
from orchestrator.util.text import counted, first_line, format_size

_STYLES = {
    "running": "32",
    "failed": "31",
    "killed": "31",
    "lost": "31",
    "absent": "31",
    "unreachable": "33",
    "left": "33",
}
_CAUSE_LABELS = {"unreachable": "cannot be reached", "left": "left the run"}
_OTHER_LINES = 6  # of a screen, above and below the table
_MIN_ROWS, _MIN_WIDTH = 12, 24

_COLUMNS: tuple[tuple[str, int, bool], ...] = (  # title, when it is hidden, whether it has numbers
    ("NODE", 0, False),
    ("RANK", 0, False),
    ("STATE", 0, False),
    ("EXIT", 0, False),
    ("PID", 1, True),
    ("LOGS", 2, True),
    ("OUTPUT", 3, True),
    ("LAST LINE", 0, False),
)


def show(view: RunStatus, output: Literal["text", "json"]) -> None:
    """Write the run to stdout."""
    if output == "json":
        write_json(asdict(view))
        return
    width, height = stdout_size()
    write(lines(view, time.time(), width, height, colour=wants_colour(1)))


def lines(
    view: RunStatus,
    now: float,
    width: int | None = None,
    height: int | None = None,
    *,
    colour: bool = False,
) -> list[str]:
    """Return a heading, why the run failed, and a row for each rank.

    In a terminal of `height` lines (None: a pipe), ranks in the same state share a row if there would be
    more rows than lines.
    """
    max_rows = None if height is None else max(_MIN_ROWS, height - _OTHER_LINES)
    rows = rank_rows(view, now, max_rows)
    columns = [
        Column(title, [row[index] for row in rows], hides, is_number=is_number)
        for index, (title, hides, is_number) in enumerate(_COLUMNS)
    ]
    return [
        *_heading(view, now),
        *_verdict(view, width or verdict.DEFAULT_WIDTH, colour=colour),
        *_stragglers(view, width, colour=colour),
        *table(columns, width, colour=colour),
        *(f"\x1b[33m{line}\x1b[0m" if colour else line for line in node_causes(view.nodes)),
    ]


def rank_rows(view: RunStatus, now: float, max_rows: int | None) -> list[tuple[Cell, ...]]:
    """Return the cells of each rank, or of a group of ranks if there would be more than `max_rows` rows.

    They are NODE, RANK, STATE, EXIT, PID, LOGS, OUTPUT and LAST LINE.
    """
    entries = [_Entry(node, rank) for node in view.nodes for rank in (node.ranks or (None,))]
    return [_cells(group, now) for group in _grouped(entries, max_rows)]


def _stragglers(view: RunStatus, width: int | None, *, colour: bool) -> list[str]:
    """Return which ranks hold up the others now, in lines of at most `width` columns."""
    shown = []
    for each in view.stragglers:
        line = printable(first_line(messages.straggling(each)))
        shown += textwrap.wrap(
            line, max(_MIN_WIDTH, width or 10_000), subsequent_indent="  ", break_on_hyphens=False
        )
    return [f"\x1b[33m{line}\x1b[0m" if colour else line for line in shown]


def node_causes(nodes: Sequence[NodeStatus]) -> list[str]:
    """Return why nodes cannot be reached, or have left, each cause once."""
    causes: dict[str, list[str]] = {}
    for node in nodes:
        if node.state in _CAUSE_LABELS and node.cause:
            cause = f"{_CAUSE_LABELS[node.state]}: {printable(first_line(node.cause))}"
            causes.setdefault(cause, []).append(node.name)
    return [f"{fold(names)} {cause}" for cause, names in causes.items()]


def _heading(view: RunStatus, now: float) -> list[str]:
    ranks = sum(len(node.ranks) for node in view.nodes)
    what = f"{counted(len(view.nodes), 'node')}, {counted(ranks, 'rank')}, {view.launcher}"
    code = "" if view.exit_code is None else f" with exit code {view.exit_code}"
    started = f"started {age(now - view.began)} ago"
    if view.ended is None:
        started += f"; controller: {_controller(view)}"
    else:
        started += f", took {duration(view.ended - view.began)}"
    logs = f"logs: {messages.short_path(view.logs)}"
    files = ""
    if view.files is not None:
        where, many, command = messages.files(view.files)
        files = f"files: {printable(f'{where} {many} · {command}')}"
    below = (started, *map(_attempt, view.failed), printable(view.summary), logs, files)
    return [
        f"run {view.run}: {view.state}{code}; {what}",
        *(f"{messages.INDENT}{line}" for line in below if line),
    ]


def _attempt(row: AttemptStatus) -> str:
    return f"attempt {row.number} ({lifetime(row.ended - row.began)}): {printable(row.summary)}"


def _verdict(view: RunStatus, width: int, *, colour: bool) -> list[str]:
    if view.verdict is None:
        return []
    rows = verdict.explained(view.verdict, width)
    return [paint(row, width, colour=colour).decode().rstrip() for row in rows]


def _controller(view: RunStatus) -> str:
    row = view.controller
    if row is None:
        return "none"
    where = "background" if row.background else "foreground"
    return f"{where} pid {row.pid}" if row.pid else where


@dataclass(frozen=True)
class _Entry:
    """A rank of a node; None if no rank of the node is known."""

    node: NodeStatus
    rank: RankStatus | None

    @property
    def condition(self) -> Hashable:
        """What entries that may share a row have in common."""
        rank = self.rank
        return (self.node.state, rank and (rank.state, rank.exit_code, rank.signal))


def _grouped(entries: Sequence[_Entry], max_rows: int | None) -> list[list[_Entry]]:
    """Return the entries in groups that share a row: as small as possible for at most `max_rows` groups.

    First entries of one node share a row, then those in the usual condition, at last those in any one.
    """
    if not entries:
        return []
    usual = Counter(entry.condition for entry in entries).most_common(1)[0][0]
    keys: tuple[Callable[[_Entry], Hashable], ...] = (
        lambda entry: (entry.node.name, entry.rank and entry.rank.rank),
        lambda entry: (entry.node.name, entry.condition),
        lambda entry: ("" if entry.condition == usual else entry.node.name, entry.condition),
        lambda entry: entry.condition,
    )
    groups: dict[Hashable, list[_Entry]] = {}
    for key in keys:
        groups = {}
        for entry in entries:
            groups.setdefault(key(entry), []).append(entry)
        if max_rows is None or len(groups) <= max_rows:
            break
    return list(groups.values())


def _cells(group: Sequence[_Entry], now: float) -> tuple[Cell, ...]:
    """Return a row of the table, a cell for each of `_COLUMNS`."""
    ranks = [entry.rank for entry in group if entry.rank is not None]
    names = list(dict.fromkeys(entry.node.name for entry in group))
    first = ranks[0] if ranks else None
    printed = [rank.said for rank in ranks if rank.said is not None]
    return (
        (names[0] if len(names) == 1 else fold(names), ""),
        (f"r{folded(rank.rank for rank in ranks)}" if ranks else "-", ""),
        _state(group, now),
        _exit(first),
        (str(first.pid) if first and first.pid and len(ranks) == 1 else "-", ""),
        (format_size(sum(rank.bytes for rank in ranks)), ""),
        (f"{age(now - min(printed))} ago" if printed else "-", ""),  # of the most silent rank
        (first.last_line if first else "", "2"),
    )


def _exit(rank: RankStatus | None) -> Cell:
    if rank is None or rank.exit_code is None:
        return ("-", "")
    return (rank.signal or str(rank.exit_code), "31" if rank.exit_code else "")


def _state(group: Sequence[_Entry], now: float) -> Cell:
    node, rank = group[0].node, group[0].rank
    if node.state in ("unreachable", "lost", "absent", "left") or rank is None:
        state: str = node.state
    else:
        state = rank.state
    style = _STYLES.get(state, "2")
    since = [e.node.unreachable_since for e in group if e.node.unreachable_since is not None]
    if state == "unreachable" and since:
        state += f" {age(now - min(since))}"
    return (state, style)
