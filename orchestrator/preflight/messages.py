"""Findings and fixes as text, one line each, safe for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from orchestrator.inventory.ranges import fold
from orchestrator.preflight.fixes import Commands, Fix, fixes_of
from orchestrator.preflight.model import Context, Status
from orchestrator.preflight.report import Report
from orchestrator.util.text import counted, escaped, one_line


def lines(report: Report) -> list[str]:
    """Return what failed and how to fix it, as lines for a terminal or a log."""
    return [line for group in groups(report, Status.FAIL) for line in group]


def groups(report: Report, *statuses: Status) -> Iterator[list[str]]:
    """Yield the lines of each fix of the findings with these statuses: the findings, then the remedy."""
    for fix in fixes_of(report, *statuses):
        group = [
            f"{check.id}  {who(report.context, finding.nodes)}: {one_line(finding.message)}"
            for check, finding in fix.found
        ]
        if fix.text is not None:
            sentence, *rest = remedy(report.context, fix)
            group += [f"  → {sentence}", *rest]
        yield group


def remedy(context: Context, fix: Fix) -> list[str]:
    """Return what to do: `a sentence (on node[1-2])`, then the commands, indented by six.

    If nodes need different commands, each set of commands has a line `on node3:` before it.
    """
    if len(fix.commands) == 1:
        (commands,) = fix.commands
        sentence = f"{one_line(fix.text or '')} ({on(context, commands)})"
        return [sentence, *_indented(commands)]
    found = [advice(context, fix)]
    for commands in fix.commands:
        found += [f"    {on(context, commands)}:", *_indented(commands)]
    return found


def advice(context: Context, fix: Fix) -> str:
    """Return the sentence, with the nodes that it is for if there is nothing to paste on them."""
    text = one_line(fix.text or "")
    nodes = "all" if fix.commands or not fix.nodes else who(context, fix.nodes)
    return text if nodes == "all" else f"{text} ({nodes})"


def summary(report: Report, seconds: float | None, *, verbose: bool = True) -> str:
    """Return the counts of checks: `2 fail, 1 warn, 30 pass in 4.2 s (16 nodes, full)`.

    Unless `verbose`, with how to show those that are not shown.
    """
    nodes = len(_everyone(report.context))
    counts = Counter(result.status for result in report.results)
    order = [status for status in reversed(Status) if status is not Status.PASS] + [Status.PASS]
    shown = ", ".join(f"{counts[status]} {status}" for status in order if counts[status])
    hidden = not verbose and counts[Status.PASS] + counts[Status.SKIP] > 0
    extent = f"{counted(nodes, 'node')}, {report.context.level}{'; -v shows all' if hidden else ''}"
    took = "" if seconds is None else f" in {seconds:.1f} s"
    return f"{shown or 'no checks'}{took} ({extent})"


def who(context: Context, nodes: Iterable[str]) -> str:
    """Return `nodes` as one word: `node[3-7]`, `all` for all of several, `-` for none."""
    names = set(nodes)
    everyone = _everyone(context)
    if len(everyone) > 1 and names.issuperset(everyone):
        return "all"
    return fold(names) if names else "-"


def on(context: Context, commands: Commands) -> str:
    """Return the nodes to paste on: `on node[3-7]`, `on all nodes`."""
    nodes = who(context, commands.nodes)
    return "on all nodes" if nodes == "all" else f"on {nodes}"


def _indented(commands: Commands) -> list[str]:
    return [f"      {escaped(line)}" for line in commands.lines]


def _everyone(context: Context) -> list[str]:
    return [*context.names, *(each.node for each in context.unreachable)]
