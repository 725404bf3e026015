"""Causes of a failure that its output does not name: files that were not sent or that only some nodes had,
a full disk, a limit on the size of files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from orchestrator import events
from orchestrator.inventory.ranges import fold
from orchestrator.plan import NodePlan
from orchestrator.plan.project_modules import remedy_for_project_module
from orchestrator.sync.unsent import why_unsent
from orchestrator.util.text import format_size, printable

if TYPE_CHECKING:  # slow to import, and a run that succeeds does not need it
    from orchestrator.diagnose import Hit

_NO_FILE, _NO_MODULE = "disk.no-file", "python.no-module"
_UNEXPLAINED = ("exit.code", "exit.abort")
"""Signatures of failures that the output does not explain."""
_DISK_FULL, _FILE_LIMIT, _CHECKPOINT = "disk.full", "disk.file-limit", "disk.checkpoint"

# Reports of ranks about other ranks that ended earlier, or that are out of step.
_RANKS_APART = frozenset(
    {
        "gloo.peer-gone", "gloo.timed-out", "gloo.mesh",
        "nccl.peer-gone", "nccl.watchdog", "nccl.taken-down",
        "dist.rank-late", "dist.collectives-differ", "hang.uneven", "hang.saving",
    }
)  # fmt: skip


def with_file_cause(
    hit: Hit, source: Path | None, node: NodePlan, uneven: Sequence[events.Uneven]
) -> Hit:
    """Return `hit` with the cause and fix if a file of the project or of an earlier run explains it.

    `source` is the folder of this machine that was copied to the nodes (None: none was); `uneven` are the
    files that only some nodes had when the run began.
    """
    if hit.signature.id in _RANKS_APART and uneven:
        return _with_uneven(hit, uneven[0])
    if hit.signature.id == _NO_MODULE and source is not None:
        module = hit.first.details.get("module", "").partition(".")[0]
        fix = (
            remedy_for_project_module(source, node.folder, module)
            if module.isidentifier()
            else None
        )
        return hit if fix is None else replace(hit, fix=fix)
    path = hit.first.details.get("path", "")
    if hit.signature.id != _NO_FILE or source is None or not path:
        return hit
    missing = PurePosixPath(path)
    if missing.is_relative_to(node.workdir):
        start, path = source, str(missing.relative_to(node.workdir))
    elif missing.is_absolute():
        return hit  # a path outside of the project
    else:
        start = source / node.folder
    unsent = why_unsent(source, start, path)
    if unsent is None:
        return hit
    # The check whether nodes share a file system does not matter here.
    signature = replace(hit.signature, check=None)
    return replace(hit, signature=signature, cause=unsent.cause, fix=unsent.fix)


def _with_uneven(hit: Hit, file: events.Uneven) -> Hit:
    there, absent = fold(file.there), fold(file.absent)
    cause = (
        f"{printable(file.path)} of an earlier run was on {there} and not on {absent}: ranks that resume "
        "from it are in another epoch than the others, and leave them or wait for them"
    )
    fix = f"remove it on {there}, copy it to {absent}, or keep it on a shared file system"
    return replace(hit, cause=cause, fix=fix)


def with_disk_cause(
    hit: Hit, full: Sequence[str], file_limit: int | None, longest_log: int
) -> tuple[Hit, str]:
    """Return `hit` with its cause if a disk or a limit explains it, and the observation, or empty.

    `full` are folders of the run on full disks, `file_limit` is the maximal size of a file on the node,
    and `longest_log` the size of the longest log of the rank; both in bytes.
    """
    name = hit.signature.id
    lost = "its last output may be lost"
    if name in _UNEXPLAINED and file_limit is not None and longest_log >= file_limit:
        seen = f"its log has reached the limit of {format_size(file_limit)}: {lost}"
        return _as(hit, _FILE_LIMIT), seen
    if full and name in (*_UNEXPLAINED, _DISK_FULL, _CHECKPOINT):
        seen = f"no space is left in {', '.join(full)}"
        return (_as(hit, _DISK_FULL), f"{seen}: {lost}") if name in _UNEXPLAINED else (hit, seen)
    if file_limit is not None and name in (_FILE_LIMIT, _CHECKPOINT):
        return _as(hit, _FILE_LIMIT), f"the limit there is {format_size(file_limit)} per file"
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
