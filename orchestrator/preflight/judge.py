"""Make findings of verdicts on nodes; equal verdicts become one finding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from typing import TypeVar

from orchestrator.inventory.ranges import fold as fold_names
from orchestrator.preflight.model import (
    Check,
    Context,
    Finding,
    NodeContext,
    Probe,
    Status,
    Unmeasured,
)
from orchestrator.preflight.verdict import Verdict, incomplete, skip
from orchestrator.util.groups import grouped

T = TypeVar("T")
V = TypeVar("V", bound=Hashable)


def judge_check(check: Check, context: Context) -> list[Finding]:
    """Return the findings of a check; it is incomplete if what it needs was not measured."""
    try:
        return list(check.verdict(context))
    except Unmeasured as error:
        return for_all(context, incomplete(str(error)))


def judge_nodes(
    context: Context, verdict: Callable[[NodeContext], Verdict | Iterable[Verdict]]
) -> list[Finding]:
    """Return the findings of `verdict` on each node; one that raises Unmeasured is incomplete."""

    def judge(node: NodeContext) -> list[Verdict]:
        try:
            found = verdict(node)
            return [found] if isinstance(found, Verdict) else list(found)
        except Unmeasured as error:
            return [incomplete(str(error))]

    return to_findings((node.name, each) for node in context.nodes for each in judge(node))


def each_node(
    verdict: Callable[[NodeContext], Verdict | Iterable[Verdict]],
) -> Callable[[Context], list[Finding]]:
    """Make the verdict of a check of one that judges each node by itself."""

    @wraps(verdict)
    def judge(context: Context) -> list[Finding]:
        return judge_nodes(context, verdict)

    return judge


def judge_each(
    context: Context, probe: Probe[T], verdict: Callable[[NodeContext, T], Verdict]
) -> list[Finding]:
    """Return the findings of `verdict` on what each node answered; no answer is incomplete."""
    return judge_nodes(context, lambda node: verdict(node, node.answer(probe)))


def between_machines(
    verdict: Callable[[Context], list[Finding]],
) -> Callable[[Context], list[Finding]]:
    """Decorate the verdict of a check of the network: it is skipped if all nodes are one machine."""

    @wraps(verdict)
    def judge(context: Context) -> list[Finding]:
        if context.on_one_machine:
            return for_all(context, skip("all nodes are one machine"))
        return verdict(context)

    return judge


def to_findings(verdicts: Iterable[tuple[str, Verdict]]) -> list[Finding]:
    """Merge equal verdicts into one finding for all their nodes; the worst comes first.

    `data` of a finding is that of its verdicts, by node.
    """
    equal = grouped(
        ((v.status, v.message, v.text, v.commands, v.as_root), (name, v)) for name, v in verdicts
    )
    findings = []
    for members in equal.values():
        finding = members[0][1].on([name for name, _ in members])
        data = {name: dict(verdict.data) for name, verdict in members if verdict.data}
        findings.append(replace(finding, data=data))
    return sorted(findings, key=lambda finding: -finding.status.badness)


def for_all(context: Context, verdict: Verdict) -> list[Finding]:
    """Return this verdict as the finding for all nodes of the plan."""
    return [verdict.on(context.names)]


def most_common(values: Mapping[str, V]) -> V | None:
    """Return the value that most nodes have; None for no nodes.

    Of several equally frequent values it is the first: main's, if it is one of them.
    """
    # Counter and its most_common keep the order of the values.
    return Counter(values.values()).most_common(1)[0][0] if values else None


def have(names: Sequence[str]) -> str:
    """Return `node[0-2] have`, or `node3 has`."""
    return f"{fold_names(names)} {'has' if len(names) == 1 else 'have'}"


def worst(findings: Sequence[Finding]) -> Status:
    """Return the worst status among `findings`; skip for none."""
    return max((f.status for f in findings), key=lambda s: s.badness, default=Status.SKIP)
