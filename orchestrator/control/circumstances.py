"""What a node's state says of the end of a rank that could not say it: a full disk, a limit on files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.util.text import format_size

if TYPE_CHECKING:  # it takes a moment to import, which a run that succeeds has no need of
    from orchestrator.diagnose import Hit

_UNEXPLAINED = ("exit.code", "exit.abort")
"""Signatures of ends of which nothing that was printed tells the reason."""
_DISK = ("disk.full", "disk.checkpoint")


def with_circumstances(
    hit: Hit, full: Sequence[str], file_limit: int | None, longest_log: int
) -> tuple[Hit, str]:
    """Return what made the rank fail, as its node looks afterwards, and what was seen there, or nothing.

    `full` are folders that the run writes to and that have no room, `file_limit` the bytes that a file may
    have there, and `longest_log` those of the longest log of the rank.
    """
    name = hit.signature.id
    is_cut = file_limit is not None and longest_log >= file_limit
    lost = "what it printed last may be lost"
    if name in _UNEXPLAINED and is_cut and file_limit is not None:
        seen = f"its log has reached the limit of {format_size(file_limit)}: {lost}"
        return _as(hit, "disk.file-limit"), seen
    if full and name in (*_UNEXPLAINED, *_DISK):
        places = ", ".join(full)
        seen = f"no room is left in {places}" + (f": {lost}" if name in _UNEXPLAINED else "")
        return (_as(hit, "disk.full") if name in _UNEXPLAINED else hit), seen
    if file_limit is not None and name in ("disk.file-limit", "disk.checkpoint"):
        return _as(hit, "disk.file-limit"), f"the limit there is {format_size(file_limit)} a file"
    return hit, ""


def _as(hit: Hit, name: str) -> Hit:
    from orchestrator.diagnose.table import BY_ID

    signature = BY_ID[name]
    return replace(
        hit,
        signature=signature,
        meaning=signature.meaning,
        cause=signature.cause,
        fix=signature.fix,
    )
