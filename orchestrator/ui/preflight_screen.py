"""Show a preflight report on a terminal: problems by group, each fix once, and a summary.

With `verbose`, the table has what passed too, below the matrices of what was measured.

The fixes come last, near the prompt, the most severe at the end. Commands are never wrapped or cut: the
terminal wraps them itself, so they can be copied as one line.
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

from orchestrator.preflight.fixes import PROBLEMS, Fix, fixes_of
from orchestrator.preflight.messages import advice, on, summary, who
from orchestrator.preflight.model import Context, Finding, Level, Status
from orchestrator.preflight.pairwise import BANDWIDTH, LATENCY, NCCL, pairwise
from orchestrator.preflight.report import Report, Result
from orchestrator.ui.heatmap import BYTES_PER_SECOND, SECONDS, heatmap
from orchestrator.util.text import escaped, one_line

_MARKS = {
    Status.PASS: ("✓", "green"),
    Status.SKIP: ("-", "dim"),
    Status.WARN: ("!", "yellow"),
    Status.INCOMPLETE: ("?", "magenta"),
    Status.FAIL: ("✗", "bold red"),
}
_DRAWN = (
    LATENCY,
    BANDWIDTH,
    NCCL,
)  # gloo's rate depends more on its own thread than on the network
_GAP = 2
_PADDING = re.compile(r" +((?:\x1b\[[0-9;]*m)*)$", re.MULTILINE)  # rich pads cells; SGR may follow

_Row = tuple[Text, Text, Text, Text]


def screen(report: Report, seconds: float, width: int, *, verbose: bool = False) -> str:
    """Return the report for a terminal of `width` columns, with escape sequences."""
    out = Console(
        file=StringIO(),
        width=width,
        force_terminal=True,
        highlight=False,
        markup=False,
        emoji=False,
    )
    if verbose and report.context.level is Level.FULL:
        _matrices(out, report.context, width)
    _table(out, report, width, verbose=verbose)
    fixes = [fix for fix in fixes_of(report, *PROBLEMS) if fix.text is not None]
    for fix in sorted(fixes, key=lambda fix: fix.status.badness):
        out.print()
        _show_fix(out, report.context, fix)
    if out.file.tell():
        out.print()
    mark, style = _MARKS[report.status]
    out.print(Text(f"{mark} {summary(report, seconds, verbose=verbose)}", style))
    assert isinstance(out.file, StringIO)
    return _PADDING.sub(r"\1", out.file.getvalue())


def _matrices(out: Console, context: Context, width: int) -> None:
    """Print what was measured between nodes."""
    for quantity, values in pairwise(context).items():
        if quantity in _DRAWN:
            scales = SECONDS if quantity.unit == "s" else BYTES_PER_SECOND
            names, good = context.names, quantity.good
            out.print(heatmap(quantity.title, scales, names, values, good=good, width=width))


def _table(out: Console, report: Report, width: int, *, verbose: bool) -> None:
    """Print the groups that have findings to show, with the same columns in each."""
    most = max(12, width // 4)
    shown = report.results if verbose else [_problems(result) for result in report.results]
    groups = [
        (group, list(_rows(report.context, list(results), most)))
        for group, results in groupby(shown, key=lambda result: result.check.group)
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


def _problems(result: Result) -> Result:
    """Return the result without findings that need no action."""
    findings = tuple(finding for finding in result.findings if finding.status in PROBLEMS)
    return Result(result.check, findings)


def _rows(context: Context, results: Sequence[Result], most: int) -> Iterator[_Row]:
    """Yield the rows of one group; checks that were skipped for the same reason share a row."""
    groups: dict[object, tuple[list[str], Finding]] = {}
    for result in results:
        for finding in result.findings:
            skipped = finding.status is Status.SKIP
            key = (finding.message, finding.nodes) if skipped else object()
            groups.setdefault(key, ([], finding))[0].append(result.check.id)
    for ids, finding in groups.values():
        mark, style = _MARKS[finding.status]
        is_problem = finding.status in PROBLEMS
        message = Text(one_line(finding.message), "dim" if finding.status is Status.SKIP else "")
        if len(ids) > 1:
            message.append(f": {', '.join(ids)}")
        elif not is_problem:
            message.no_wrap, message.overflow = True, "ellipsis"
        yield (
            Text(f"{mark} {finding.status}", style),
            Text(ids[0] if len(ids) == 1 else f"{len(ids)} checks", style if is_problem else ""),
            _broken(who(context, finding.nodes), most),
            message,
        )


def _broken(names: str, width: int) -> Text:
    """Return folded names in lines of at most `width` columns, if breaking after commas allows it."""
    lines = [""]
    for piece in re.findall("[^,]+,?", names):
        if lines[-1] and cell_len(lines[-1] + piece) > width:
            lines.append("")
        lines[-1] += piece
    return Text("\n".join(lines))


def _width(cell: Text) -> int:
    return max(line.cell_len for line in cell.split())


def _show_fix(out: Console, context: Context, fix: Fix) -> None:
    mark, style = _MARKS[fix.status]
    head = Table.grid(padding=(0, 1, 0, 0))
    head.add_row(
        Text(mark, style),
        Text.assemble((", ".join(fix.ids), style), f": {advice(context, fix)}"),
    )
    out.print(head)
    for commands in fix.commands:
        out.print(Text(f"  {on(context, commands)}:"), soft_wrap=True)
        for line in commands.lines:
            out.print(Text(f"      {escaped(line)}", "bold"), soft_wrap=True)
