"""Ranks that lose each other because an earlier run left a file on some of their nodes only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator import events
from orchestrator.inventory.ranges import fold
from orchestrator.util.text import printable

if TYPE_CHECKING:  # it takes a moment to import, which a run that succeeds has no need of
    from orchestrator.diagnose import Hit

# What ranks say of others that have ended before them, or that do something else.
_APART = frozenset(
    {
        "gloo.peer-gone", "gloo.timed-out", "gloo.mesh",
        "nccl.peer-gone", "nccl.watchdog", "nccl.taken-down",
        "dist.rank-late", "dist.collectives-differ",
    }
)  # fmt: skip


def with_uneven(hit: Hit, uneven: Sequence[events.Uneven]) -> Hit:
    """Return `hit` with the file that was `uneven` when the run began, where that explains it."""
    if hit.signature.id not in _APART or not uneven:
        return hit
    first = uneven[0]
    cause = (
        f"{printable(first.path)} of an earlier run was on {fold(first.there)} and not on "
        f"{fold(first.absent)}: ranks that resume from it are at another epoch than the others, and leave "
        "them or wait for them"
    )
    fix = (
        f"remove it on {fold(first.there)}, copy it to {fold(first.absent)}, or keep it on a file system "
        "that they share"
    )
    return replace(hit, cause=cause, fix=fix)
