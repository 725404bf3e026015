"""A diagnosis in plain words: lines for a terminal or a log."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.diagnose.across import folded
from orchestrator.diagnose.model import Diagnosis, Hit, PythonError
from orchestrator.diagnose.signature import Kind

MAX_TOLD = 8
"""So many failures are told in full."""


def lines(diagnosis: Diagnosis) -> list[str]:
    """Return what failed and what to do; what merely followed from it in one line each.

    Roots are told in full, and what ranks below only if it is the best there is; noise is not told.
    """
    found = [hit for hit in diagnosis.hits if hit.kind is not Kind.NOISE]
    if not found:
        return ["nothing was found that this program knows"]
    full = [hit for hit in found if hit.kind is Kind.ROOT] or found[:1]
    told: list[str] = []
    for hit in full[:MAX_TOLD]:
        told += _in_full(hit)
    if len(full) > MAX_TOLD:
        told.append(f"... and {len(full) - MAX_TOLD} more of this kind")
    told += [_in_short(hit) for hit in found if hit not in full]
    return told


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


def raised_at(error: PythonError) -> str | None:
    """Return the line of the user's own code: `train.py:88 in step`; None if there is none."""
    if error.file is None:
        return None
    place = f"{error.file}:{error.line}"
    return place if error.function in (None, "<module>") else f"{place} in {error.function}"


def _in_full(hit: Hit) -> Iterator[str]:
    yield f"{hit.meaning} · {where(hit)}"
    first = hit.first
    place = f"  ({first.place.source}:{first.place.line})" if first.place.line else ""
    yield f"  {first.text}{place}"
    at = raised_at(hit.error) if hit.error else None
    if at is not None:
        yield f"  at {at}"
    yield f"  why: {hit.cause}"
    yield f"  → {hit.fix}"
    if hit.signature.check is not None:
        yield f"  before a launch: orch preflight --only {hit.signature.check}"


def _in_short(hit: Hit) -> str:
    after = f", after {hit.signature.after}" if hit.signature.after else ""
    times = f", {hit.count} times" if hit.count > len(hit.matches) else ""
    return f"{hit.meaning} · {where(hit)}{times}{after}"
