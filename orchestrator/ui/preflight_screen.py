"""A preflight's report on a terminal: what is wrong by group, each remedy once, the sum.

With `verbose`, what is well stands in the table, too, and pictures of what was measured above it.

What is to be done stands last, near the prompt, the worst last of all. No command is ever wrapped or
cut by us: the terminal wraps it itself, and it is copied as one line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from io import StringIO
from itertools import groupby

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from orchestrator.preflight.fixes import TO_MEND, Fix, fixes_of
from orchestrator.preflight.messages import advice, on, summary, who
from orchestrator.preflight.model import Context, Finding, Level, Status
from orchestrator.preflight.pairwise import BANDWIDTH, LATENCY, NCCL, pairwise
from orchestrator.preflight.report import Report, Result
from orchestrator.ui.heatmap import BYTES_PER_SECOND, SECONDS, heatmap
from orchestrator.util.text import one_line, visible

_MARKS = {
    Status.PASS: ("✓", "green"),
    Status.SKIP: ("-", "dim"),
    Status.WARN: ("!", "yellow"),
    Status.INCOMPLETE: ("?", "magenta"),
    Status.FAIL: ("✗", "bold red"),
}
_DRAWN = (LATENCY, BANDWIDTH, NCCL)  # what gloo reaches says more of its own thread than of the way
_GAP = 2
_PADDING = re.compile(r" +((?:\x1b\[[0-9;]*m)*)$", re.MULTILINE)  # rich pads cells; SGR may follow

_Row = tuple[Text, Text, Text, Text]


def screen(report: Report, seconds: float, width: int, *, verbose: bool = False) -> str:
    """Return the report for a terminal of `width` columns, with its escape sequences."""
    out = Console(
        file=StringIO(),
        width=width,
        force_terminal=True,
        highlight=False,
        markup=False,
        emoji=False,
    )
    if verbose and report.context.level is Level.FULL:
        _pictures(out, report.context, width)
    _table(out, report, width, verbose=verbose)
    to_mend = [mend for mend in fixes_of(report, *TO_MEND) if mend.text is not None]
    for mend in sorted(to_mend, key=lambda mend: mend.status.badness):
        out.print()
        _show_fix(out, report.context, mend)
    if out.file.tell():
        out.print()
    mark, style = _MARKS[report.status]
    out.print(Text(f"{mark} {summary(report, seconds, verbose=verbose)}", style))
    assert isinstance(out.file, StringIO)
    return _PADDING.sub(r"\1", out.file.getvalue())


def _pictures(out: Console, context: Context, width: int) -> None:
    """Print what was measured between nodes."""
    for quantity, values in pairwise(context).items():
        if quantity in _DRAWN:
            scales = SECONDS if quantity.unit == "s" else BYTES_PER_SECOND
            names, good = context.names, quantity.good
            out.print(heatmap(quantity.title, scales, names, values, good=good, width=width))


def _table(out: Console, report: Report, width: int, *, verbose: bool) -> None:
    """Print the groups that have anything to tell, with the same columns throughout."""
    most = max(12, width // 4)
    told = report.results if verbose else [_wrong(result) for result in report.results]
    groups = [
        (group, list(_rows(report.context, list(results), most)))
        for group, results in groupby(told, key=lambda result: result.check.group)
    ]
    groups = [(group, rows) for group, rows in groups if rows]
    rows = [row for _, group in groups for row in group]
    widest = [max((_width(row[column]) for row in rows), default=0) for column in range(3)]
    widest[2] = min(widest[2], most)
    for group, group_rows in groups:
        out.print(Text(group.value, "bold"))
        table = Table.grid(padding=(0, _GAP, 0, 0))
        for column in widest:
            table.add_column(width=column, overflow="fold")
        table.add_column(width=max(10, width - sum(widest) - 4 * _GAP), overflow="fold")
        for row in group_rows:
            table.add_row(*row)
        out.print(Padding(table, (0, 0, 0, _GAP)))


def _wrong(result: Result) -> Result:
    """Return the result without findings about which there is nothing to do."""
    findings = tuple(finding for finding in result.findings if finding.status in TO_MEND)
    return Result(result.check, findings)


def _rows(context: Context, results: Sequence[Result], most: int) -> Iterator[_Row]:
    """Yield the rows of one group; checks that are skipped for one reason are one."""
    alike: dict[object, tuple[list[str], Finding]] = {}
    for result in results:
        for finding in result.findings:
            skipped = finding.status is Status.SKIP
            key = (finding.message, finding.nodes) if skipped else object()
            alike.setdefault(key, ([], finding))[0].append(result.check.id)
    for ids, finding in alike.values():
        mark, style = _MARKS[finding.status]
        matters = finding.status in TO_MEND
        message = Text(one_line(finding.message), "dim" if finding.status is Status.SKIP else "")
        if len(ids) > 1:
            message.append(f": {', '.join(ids)}")
        elif not matters:
            message.no_wrap, message.overflow = True, "ellipsis"
        yield (
            Text(f"{mark} {finding.status}", style),
            Text(ids[0] if len(ids) == 1 else f"{len(ids)} checks", style if matters else ""),
            _broken(who(context, finding.nodes), most),
            message,
        )


def _broken(names: str, width: int) -> Text:
    """Return folded names in lines of `width`, broken after commas as far as that goes."""
    lines = [""]
    for piece in re.findall("[^,]+,?", names):
        if lines[-1] and cell_len(lines[-1] + piece) > width:
            lines.append("")
        lines[-1] += piece
    return Text("\n".join(lines))


def _width(cell: Text) -> int:
    return max(line.cell_len for line in cell.split())


def _show_fix(out: Console, context: Context, mend: Fix) -> None:
    mark, style = _MARKS[mend.status]
    head = Table.grid(padding=(0, 1, 0, 0))
    head.add_row(
        Text(mark, style),
        Text.assemble((", ".join(mend.ids), style), f": {advice(context, mend)}"),
    )
    out.print(head)
    for place in mend.places:
        out.print(Text(f"  {on(context, place)}:"), soft_wrap=True)
        for command in place.commands:
            out.print(Text(f"      {visible(command)}", "bold"), soft_wrap=True)
