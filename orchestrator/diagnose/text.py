"""A finding in plain words: whom it concerns, and where."""

from __future__ import annotations

from orchestrator.diagnose.across import folded
from orchestrator.diagnose.model import Hit, Match, PythonError


def where(hit: Hit) -> str:
    """Return who had it: `rank 3 on node1`, `63 ranks (0-62) on 8 nodes`, or the files' names."""
    ranks, nodes = hit.ranks, hit.nodes
    if len(ranks) > 1:
        who = f"{len(ranks)} ranks ({folded(list(ranks))})"
    elif ranks:
        who = f"rank {ranks[0]}"
    else:
        who = nodes[0] if len(nodes) == 1 else hit.sources[0]
        return who if len(hit.sources) == 1 else f"{who} and {len(hit.sources) - 1} more"
    if not nodes:
        return who
    return f"{who} on {nodes[0]}" if len(nodes) == 1 else f"{who} on {len(nodes)} nodes"


def place(match: Match) -> str:
    """Return where it stands: `node1/attempt-0/rank-5.err:12`, or what it was seen in if not in a line."""
    found = match.place
    return f"{found.source}:{found.line}" if found.line else found.source


def raised_at(error: PythonError) -> str | None:
    """Return the line of the user's own code: `train.py:88 in step`; None if there is none."""
    if error.file is None:
        return None
    at = f"{error.file}:{error.line}"
    return at if error.function in (None, "<module>") else f"{at} in {error.function}"
