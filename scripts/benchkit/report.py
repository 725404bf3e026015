"""Show results as a table, as JSON, or on a page of the documentation."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from statistics import median
from typing import Any

from benchkit.numbers import Result, Series

_HEADS = ("median", "min", "max", "runs")
_START, _END = "<!-- bench: written by scripts/bench --page -->\n", "<!-- /bench -->\n"


def table(result: Result) -> str:
    """Return the numbers of a case and its verdicts, in columns."""
    tables: dict[str, list[Series]] = {}
    for series in result.series:
        tables.setdefault(f"{series.quantity}, {series.unit}", []).append(series)
    width = max(map(len, [*tables, *(series.contender for series in result.series)]))
    lines = [f"{result.case}: {result.title}"]
    for label, rows in tables.items():
        lines.append(f"\n  {label:<{width}}" + "".join(f"{head:>9}" for head in _HEADS))
        lines += [f"  {row.contender:<{width}}{_numbers(row)}" for row in rows]
    lines.append("")
    width = max(len(bound.what) for bound in result.bounds)
    for bound in result.bounds:
        lines.append(
            f"  {'PASS' if bound.met else 'MISS'}  {bound.what:<{width}}  "
            f"{_short(bound.value)} {bound.unit} ({_short(min(bound.values))} to "
            f"{_short(max(bound.values))}), at most {bound.limit:g}"
        )
    lines += [f"  - {note}" for note in result.notes]
    return "\n".join(lines) + "\n"


def on_page(page: str, results: Sequence[Result], machine: dict[str, Any]) -> str:
    """Return a page with these results between its two marks, in one Markdown table."""
    before, _, rest = page.partition(_START)
    _, _, after = rest.partition(_END)
    rows = [row for result in results for row in _rows(result)]
    return (
        f"{before}{_START}\n"
        f"{machine['cores']} cores, which the hosts, the ranks and the controller share; "
        f"load {machine['load']:.1f} at the start.\n"
        "Medians, with minimum and maximum in brackets.\n\n"
        "| case | what | measured | at most |\n| --- | --- | --- | --- |\n"
        + "".join(f"| {' | '.join(row)} |\n" for row in rows)
        + f"\n{_END}{after}"
    )


def _rows(result: Result) -> list[tuple[str, str, str, str]]:
    """Return a row for each quantity, with all tools, and one for each bound."""
    measured: dict[str, list[str]] = {}
    for series in result.series:
        tools = measured.setdefault(f"{series.quantity}, {series.unit}", [])
        tools.append(f"{series.contender} {_spread(series.values)}")
    rows = [(quantity, ", ".join(tools), "") for quantity, tools in measured.items()]
    rows += [
        (
            f"{bound.what}, {bound.unit}",
            _spread(bound.values),
            f"{bound.limit:g}{'' if bound.met else ': missed'}",
        )
        for bound in result.bounds
    ]
    case = f"`{result.case}`: {result.title}"
    return [(case if row == rows[0] else "", *row) for row in rows]


def _spread(values: Sequence[float]) -> str:
    if len(values) == 1:
        return _short(values[0])
    return f"{_short(median(values))} ({_short(min(values))} to {_short(max(values))})"


def to_json(results: Sequence[Result], machine: dict[str, Any]) -> dict[str, Any]:
    """Return all results, and the machine."""
    return {"machine": machine, "cases": [result.to_json() for result in results]}


def machine() -> dict[str, Any]:
    """Return what affects the numbers on this machine; `load` is the load average of the last minute."""
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


def _numbers(series: Series) -> str:
    values = series.to_json()
    cells = [_short(values[head]) for head in _HEADS[:3]] + [str(len(series.values))]
    return "".join(f"{cell:>9}" for cell in cells)


def _short(value: float) -> str:
    """Return two or three significant digits, without an exponent."""
    digits = next((digits for least, digits in ((100, 0), (10, 1), (0.1, 2)) if value >= least), 4)
    return f"{value:.{digits}f}"
