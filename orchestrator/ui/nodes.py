"""Show what nodes are: a table for people, JSON for programs."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.nodes import NodeReport
from orchestrator.plan import Facts
from orchestrator.ui.console import Stderr

_NOTABLE_SKEW = 0.5  # seconds; timestamps of two nodes can no longer be compared
_GAP = "  "
_NONE = "-"


def show(reports: Sequence[NodeReport], output: Literal["text", "json"]) -> None:
    """Write the reports to stdout, and in text what is wrong with nodes to stderr."""
    if output == "json":
        sys.stdout.write(json.dumps([describe(report) for report in reports], indent=2) + "\n")
        sys.stdout.flush()
        return
    terminal = os.isatty(1)
    width = shutil.get_terminal_size().columns if terminal else None
    colour = terminal and not os.environ.get("NO_COLOR")
    sys.stdout.write("".join(f"{line}\n" for line in table(reports, width, colour=colour)))
    sys.stdout.flush()
    for report in reports:
        if report.problem is not None:
            Stderr().line(str(report.problem), "red")


def describe(report: NodeReport) -> dict[str, Any]:
    """Return a report as a JSON object; it always has the same keys."""
    facts, problem = report.facts, report.problem
    return {
        "name": report.host.name,
        "spare": report.host.spare,
        "address": report.host.address,
        "port": report.host.port,
        "reachable": facts is not None,
        "hostname": facts and facts.hostname,
        "python": report.host.python,
        "python_version": facts and facts.python_version,
        "cpus": facts and facts.cpus,
        "gpus": facts and facts.gpus,
        "interface": report.interface,
        "interface_address": report.address,
        "subnet": report.subnet,
        "rsync": facts and facts.rsync is not None,
        "clock_skew": facts and round(facts.clock_skew, 3),
        "home": facts and facts.home,
        "problem": problem
        and {"cause": problem.cause, "message": problem.message, "remedy": problem.remedy},
    }


def table(
    reports: Sequence[NodeReport], width: int | None = None, *, colour: bool = False
) -> list[str]:
    """Return a heading and a line for each report, in columns.

    In `width` characters (None: any number), columns that have nothing remarkable in them give way,
    the least important first, and a last line names them.
    """
    columns = [_Column(title, [cell(report) for report in reports]) for title, cell in _COLUMNS]
    hidden = []
    for title in _GIVING_WAY:
        if width is not None and _total(columns) > width:
            columns, gone = _without(columns, title)
            hidden += gone
    heading = _GAP.join(column.title.ljust(column.width) for column in columns).rstrip()
    lines = [_painted(heading, "1") if colour else heading]
    for index in range(len(reports)):
        cells = [column.cells[index] for column in columns]
        padded = [
            cell.painted(column.width, colour) for column, cell in zip(columns, cells, strict=True)
        ]
        lines.append(_GAP.join(padded).rstrip())
    if hidden:
        lines.append(
            f"({', '.join(sorted(hidden)).lower()}: in a wider terminal, or --output json)"
        )
    return lines


@dataclass(frozen=True)
class _Cell:
    text: str
    alarm: str | None = None  # SGR parameters if it is remarkable

    def painted(self, width: int, colour: bool) -> str:
        padding = " " * (width - len(self.text))
        text = _painted(self.text, self.alarm) if colour and self.alarm else self.text
        return text + padding


@dataclass(frozen=True)
class _Column:
    title: str
    cells: list[_Cell]

    @property
    def width(self) -> int:
        return max(len(self.title), *(len(cell.text) for cell in self.cells))


def _total(columns: Sequence[_Column]) -> int:
    return sum(column.width for column in columns) + len(_GAP) * (len(columns) - 1)


def _without(columns: list[_Column], title: str) -> tuple[list[_Column], list[str]]:
    """Leave out the column `title`, unless it has something remarkable; return what was left out."""
    left = [
        column
        for column in columns
        if column.title != title or any(cell.alarm for cell in column.cells)
    ]
    return left, [title] if len(left) < len(columns) else []


def _painted(text: str, parameters: str) -> str:
    return f"\x1b[{parameters}m{text}\x1b[0m"


def _printable(text: str) -> str:
    """Return what a node said without anything that a terminal could obey."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _address(report: NodeReport) -> _Cell:
    host = report.host
    if host.port is None:
        return _Cell(host.address)
    address = f"[{host.address}]" if ":" in host.address else host.address
    return _Cell(f"{address}:{host.port}")


def _python(report: NodeReport) -> _Cell:
    if report.facts is None:
        return _Cell(f"✗ {report.problem.cause if report.problem else 'unknown'}", "31")
    return _Cell(_printable(report.facts.python_version))


def _network(report: NodeReport) -> _Cell:
    return _Cell(_printable(f"{report.interface} {report.address}") if report.address else _NONE)


def _fact(cell: Callable[[Facts], _Cell]) -> Callable[[NodeReport], _Cell]:
    return lambda report: _Cell(_NONE) if report.facts is None else cell(report.facts)


def _clock(facts: Facts) -> _Cell:
    if abs(facts.clock_skew) > _NOTABLE_SKEW:
        return _Cell(f"{facts.clock_skew:+.1f} s", "33")
    return _Cell("ok")


_COLUMNS: tuple[tuple[str, Callable[[NodeReport], _Cell]], ...] = (
    ("NODE", lambda report: _Cell(report.host.name + (" (spare)" if report.host.spare else ""))),
    ("ADDRESS", _address),
    ("PYTHON", _python),
    ("CPUS", _fact(lambda facts: _Cell(str(facts.cpus)))),
    ("GPUS", _fact(lambda facts: _Cell(str(facts.gpus)))),
    ("NETWORK", _network),
    ("RSYNC", _fact(lambda facts: _Cell("yes") if facts.rsync else _Cell("no", "31"))),
    ("CLOCK", _fact(_clock)),
    ("HOME", _fact(lambda facts: _Cell(_printable(facts.home)))),
)
_GIVING_WAY = ("HOME", "ADDRESS", "CLOCK", "RSYNC", "CPUS")
