"""Make findings of what nodes measured: a verdict on each, those that are alike folded into one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from orchestrator.inventory.ranges import fold as fold_names
from orchestrator.preflight.model import (
    Context,
    Finding,
    NoAnswer,
    NodeContext,
    Probe,
    Remedy,
    Status,
)
from orchestrator.preflight.verdict import Verdict, incomplete

T = TypeVar("T")
V = TypeVar("V", bound=Hashable)


def judge_each(
    context: Context, probe: Probe[T], verdict: Callable[[NodeContext, T], Verdict]
) -> list[Finding]:
    """Return the findings of `verdict` on what each node answered; no answer is incomplete."""
    found = context.of(probe)
    return to_findings(
        (
            node.name,
            incomplete(answer.reason)
            if isinstance(answer := found[node.name], NoAnswer)
            else verdict(node, answer),
        )
        for node in context.nodes
    )


def to_findings(verdicts: Iterable[tuple[str, Verdict]]) -> list[Finding]:
    """Return one finding for all nodes whose verdict reads alike, the worst first.

    Its data has each node's own under the node's name.
    """
    alike: dict[tuple[Any, ...], list[tuple[str, Verdict]]] = {}
    for name, verdict in verdicts:
        key = (verdict.status, verdict.message, verdict.text, verdict.commands)
        alike.setdefault(key, []).append((name, verdict))
    findings = []
    for members in alike.values():
        nodes, one = tuple(name for name, _ in members), members[0][1]
        remedy = None if one.text is None else Remedy(one.text, one.commands, nodes, one.as_root)
        data = {name: dict(verdict.data) for name, verdict in members if verdict.data}
        findings.append(Finding(one.status, nodes, one.message, remedy, data))
    return sorted(findings, key=lambda finding: -finding.status.badness)


def whole(context: Context, status: Status, message: str, **more: Any) -> list[Finding]:
    """Return one finding for all nodes of the plan."""
    return [Finding(status, context.names, message, **more)]


def unmeasured(context: Context, found: NoAnswer) -> list[Finding]:
    """Return the finding for what could be measured on no node."""
    return whole(context, Status.INCOMPLETE, incomplete(found.reason).message)


def most_common(values: Mapping[str, V]) -> V | None:
    """Return what most nodes have, what the others are held against; None for no nodes.

    Where several values are as frequent, it is the first: main's, if it is one of them.
    """
    # Counter keeps the order in which values came, and so does most_common.
    return Counter(values.values()).most_common(1)[0][0] if values else None


def have(names: Sequence[str]) -> str:
    """Return `node[0-2] have`, or `node3 has`."""
    return f"{fold_names(names)} {'has' if len(names) == 1 else 'have'}"


def worst(findings: Sequence[Finding]) -> Status:
    """Return the worst status among `findings`; skip for none."""
    return max((f.status for f in findings), key=lambda s: s.badness, default=Status.SKIP)
