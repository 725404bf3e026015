"""Show one run: its nodes and ranks in a table for people and pipes, in full as JSON for programs."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from orchestrator.api.status import AttemptStatus, NodeStatus, RankStatus, RunStatus
from orchestrator.inventory.ranges import fold
from orchestrator.ui import messages, verdict
from orchestrator.ui.table import Cell, Column, stdout_size, table, write
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
_WHAT = {"unreachable": "cannot be reached", "left": "left the run"}
_WIDTH = 80  # columns of what explains a failure, where there is no terminal
_AROUND = 6  # lines of a screen that the table leaves for what stands around it
_FEWEST = 12  # rows that are always shown


def show(view: RunStatus, output: Literal["text", "json"]) -> None:
    """Write the run to stdout."""
    if output == "json":
        write([json.dumps(describe(view), indent=2, default=str)])
        return
    width, height = stdout_size()
    write(lines(view, time.time(), width, height, colour=wants_colour(1)))


def describe(view: RunStatus) -> dict[str, Any]:
    """Return the run as one JSON object, nothing left out; it always has the same keys."""
    return asdict(view)


def lines(
    view: RunStatus,
    now: float,
    width: int | None = None,
    height: int | None = None,
    *,
    colour: bool = False,
) -> list[str]:
    """Return what the run is, then a row for each rank.

    In a terminal of `height` lines (None: a pipe), ranks that are alike share a row where there would
    be more rows than lines.
    """
    entries = [_Entry(node, rank) for node in view.nodes for rank in (node.ranks or (None,))]
    most = None if height is None else max(_FEWEST, height - _AROUND)
    rows = [_Cells.of(group, now) for group in _grouped(entries, most)]
    return [
        *_heading(view, now),
        *_verdict(view, width or _WIDTH, colour=colour),
        *table(
            [
                Column("NODE", [row.nodes for row in rows]),
                Column("RANK", [row.ranks for row in rows]),
                Column("STATE", [row.state for row in rows]),
                Column("EXIT", [row.exit for row in rows]),
                Column("PID", [row.pid for row in rows], 1, is_number=True),
                Column("LOGS", [row.size for row in rows], 2, is_number=True),
                Column("SAID", [row.age for row in rows], 3, is_number=True),
                Column("LAST LINE", [row.said for row in rows]),
            ],
            width,
            colour=colour,
        ),
        *_causes(view.nodes, colour=colour),
    ]


def _causes(nodes: Sequence[NodeStatus], *, colour: bool) -> list[str]:
    """Return why nodes cannot be reached, or have left, each cause once."""
    causes: dict[str, list[str]] = {}
    for node in nodes:
        if node.state in _WHAT and node.cause:
            first = printable(first_line(node.cause))
            causes.setdefault(f"{_WHAT[node.state]}: {first}", []).append(node.name)
    shown = [f"{fold(names)} {cause}" for cause, names in causes.items()]
    return [f"\x1b[33m{line}\x1b[0m" if colour else line for line in shown]


def _heading(view: RunStatus, now: float) -> list[str]:
    ranks = sum(len(node.ranks) for node in view.nodes)
    what = f"{counted(len(view.nodes), 'node')}, {counted(ranks, 'rank')}, {view.launcher}"
    code = "" if view.exit_code is None else f" with exit code {view.exit_code}"
    began = f"began {age(now - view.began)} ago"
    if view.ended is None:
        began += f"; controller: {_controller(view)}"
    else:
        began += f", took {duration(view.ended - view.began)}"
    logs = f"logs: {messages.short_path(view.logs)}"
    files = ""
    if view.files is not None:
        where, many, command = messages.files(view.files)
        files = f"files: {printable(f'{where} {many} · {command}')}"
    below = (began, *map(_attempt, view.failed), printable(view.summary), logs, files)
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
    """A rank of a node; None where nothing is known of any."""

    node: NodeStatus
    rank: RankStatus | None

    @property
    def is_alike(self) -> Hashable:
        """What entries that may share a row have in common."""
        rank = self.rank
        return (self.node.state, rank and (rank.state, rank.exit_code, rank.signal))


def _grouped(entries: Sequence[_Entry], most: int | None) -> list[list[_Entry]]:
    """Return entries that share a row: none if there is room for all, else as few as need be.

    First those of one node, then the usual ones of all nodes, at last all that are alike.
    """
    if not entries:
        return []
    usual = Counter(entry.is_alike for entry in entries).most_common(1)[0][0]
    keys: tuple[Callable[[_Entry], Hashable], ...] = (
        lambda entry: (entry.node.name, entry.rank and entry.rank.rank),
        lambda entry: (entry.node.name, entry.is_alike),
        lambda entry: ("" if entry.is_alike == usual else entry.node.name, entry.is_alike),
        lambda entry: entry.is_alike,
    )
    groups: dict[Hashable, list[_Entry]] = {}
    for key in keys:
        groups = {}
        for entry in entries:
            groups.setdefault(key(entry), []).append(entry)
        if most is None or len(groups) <= most:
            break
    return list(groups.values())


@dataclass(frozen=True)
class _Cells:
    """What stands in one row."""

    nodes: Cell
    ranks: Cell
    state: Cell
    exit: Cell
    pid: Cell
    size: Cell
    age: Cell
    said: Cell

    @classmethod
    def of(cls, group: Sequence[_Entry], now: float) -> _Cells:
        ranks = [entry.rank for entry in group if entry.rank is not None]
        names = list(dict.fromkeys(entry.node.name for entry in group))
        first = ranks[0] if ranks else None
        said = [rank.said for rank in ranks if rank.said is not None]
        return cls(
            nodes=(names[0] if len(names) == 1 else fold(names), ""),
            ranks=(f"r{folded(rank.rank for rank in ranks)}" if ranks else "-", ""),
            state=_state(group, now),
            exit=_exit(first),
            pid=(str(first.pid) if first and first.pid and len(ranks) == 1 else "-", ""),
            size=(format_size(sum(rank.bytes for rank in ranks)), ""),
            age=(
                f"{age(now - min(said))} ago" if said else "-",
                "",
            ),  # of the most silent one
            said=(first.last_line if first else "", "2"),
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
