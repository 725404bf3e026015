"""Findings in plain words, one line each, whatever nodes sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from orchestrator.inventory.ranges import fold
from orchestrator.preflight.fixes import Fix, Location, fixes_of
from orchestrator.preflight.model import Context, Status
from orchestrator.preflight.report import Report
from orchestrator.util.text import counted, escaped, one_line


def lines(report: Report) -> list[str]:
    """Return what failed, and what mends it, in lines for a terminal or a log."""
    return [line for group in groups(report, Status.FAIL) for line in group]


def groups(report: Report, *statuses: Status) -> Iterator[list[str]]:
    """Yield the findings of these statuses in lines: those that one remedy mends, and then that."""
    for mend in fixes_of(report, *statuses):
        text = [
            f"{check.id}  {who(report.context, finding.nodes)}: {one_line(finding.message)}"
            for check, finding in mend.found
        ]
        if mend.text is not None:
            sentence, *rest = remedy(report.context, mend)
            text += [f"  → {sentence}", *rest]
        yield text


def remedy(context: Context, mend: Fix) -> list[str]:
    """Return what to do: `a sentence (on node[1-2])`, then the commands, indented by six.

    Where different nodes need different commands, `on node3:` stands before each.
    """
    if len(mend.places) == 1:
        (place,) = mend.places
        return [f"{one_line(mend.text or '')} ({on(context, place)})", *_commands(place)]
    found = [advice(context, mend)]
    for place in mend.places:
        found += [f"    {on(context, place)}:", *_commands(place)]
    return found


def advice(context: Context, mend: Fix) -> str:
    """Return the sentence; where nothing is to be pasted on nodes, with those that it is for."""
    text = one_line(mend.text or "")
    nodes = "all" if mend.places or not mend.nodes else who(context, mend.nodes)
    return text if nodes == "all" else f"{text} ({nodes})"


def summary(report: Report, seconds: float, *, verbose: bool = True) -> str:
    """Return `2 fail, 1 warn, 30 pass in 4.2 s (16 nodes, full)`; it is checks that are counted.

    Unless `verbose`, with how to see those that are not shown.
    """
    nodes = len(_everyone(report.context))
    counts = Counter(result.status for result in report.results)
    order = [status for status in reversed(Status) if status is not Status.PASS] + [Status.PASS]
    told = ", ".join(f"{counts[status]} {status}" for status in order if counts[status])
    hidden = not verbose and counts[Status.PASS] + counts[Status.SKIP] > 0
    where = (
        f"({counted(nodes, 'node')}, {report.context.level}{'; -v shows all' if hidden else ''})"
    )
    return f"{told or 'no checks'} in {seconds:.1f} s {where}"


def who(context: Context, nodes: Iterable[str]) -> str:
    """Return `nodes` as one word: `node[3-7]`, `all` for all of several, `-` for none."""
    names = set(nodes)
    everyone = _everyone(context)
    if len(everyone) > 1 and names.issuperset(everyone):
        return "all"
    return fold(names) if names else "-"


def on(context: Context, place: Location) -> str:
    """Return where to paste: `on node[3-7]`, `on all nodes`."""
    nodes = who(context, place.nodes)
    return "on all nodes" if nodes == "all" else f"on {nodes}"


def _commands(place: Location) -> list[str]:
    return [f"      {escaped(command)}" for command in place.commands]


def _everyone(context: Context) -> list[str]:
    return [*context.names, *(each.node for each in context.unreachable)]
