"""Describe a finding: which ranks and nodes had it, and where."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.diagnose.model import Hit, Match, PythonError
from orchestrator.diagnose.signature import Kind
from orchestrator.util.numbers import folded

_MAX_NODES = 3  # that are named, or one more


def affected(hit: Hit) -> str:
    """Return which ranks had it: `rank 3 on node1`, `63 ranks (0-62) on 8 nodes`, or the nodes or files.

    Nodes that need to be fixed are named: `4 ranks (8-11) on node2, node5, node6 and 5 more`.
    """
    ranks, nodes = hit.ranks, hit.nodes
    if len(ranks) > 1:
        who = f"{len(ranks)} ranks ({folded(ranks)})"
    elif ranks:
        who = f"rank {ranks[0]}"
    elif nodes:
        return _named(nodes)
    else:
        who = hit.sources[0]
        return who if len(hit.sources) == 1 else f"{who} and {len(hit.sources) - 1} more"
    if not nodes:
        return who
    if len(nodes) > 1 and hit.kind >= Kind.CASCADE:
        return f"{who} on {len(nodes)} nodes"
    return f"{who} on {_named(nodes)}"


def _named(nodes: Sequence[str]) -> str:
    beyond = len(nodes) - _MAX_NODES
    named = ", ".join(nodes if beyond <= 1 else nodes[:_MAX_NODES])
    return named + (f" and {beyond} more" if beyond > 1 else "")


def location(match: Match) -> str:
    """Return file and line, `node1/attempt-0/rank-5.err:12`, or the source if it is not in a line."""
    found = match.place
    return f"{found.source}:{found.line}" if found.line else found.source


def raised_at(error: PythonError) -> str | None:
    """Return the line in the user's own code, `train.py:88 in step`; None if there is none."""
    if error.file is None:
        return None
    at = f"{error.file}:{error.line}"
    return at if error.function in (None, "<module>") else f"{at} in {error.function}"
