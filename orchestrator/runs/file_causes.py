"""Files and modules that a rank did not find, and that are here, where the job was launched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from orchestrator.plan import NodePlan
from orchestrator.plan.project_modules import remedy_for_project_module
from orchestrator.sync.unsent import why_unsent

if TYPE_CHECKING:  # it takes a moment to import, which a run that succeeds has no need of
    from orchestrator.diagnose import Hit

_NO_FILE, _NO_MODULE = "disk.no-file", "python.no-module"


def with_reason(hit: Hit, source: Path | None, node: NodePlan) -> Hit:
    """Return `hit` with why the file that is missing on `node` was not sent, where that is the reason; with
    how a module of the project is found there, where it is one.

    `source` is the folder of this machine that went to the nodes (None: none did).
    """
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
        return hit  # a path of the node's own
    else:
        start = source / node.folder
    staying = why_unsent(source, start, path)
    if staying is None:
        return hit
    # Whether nodes share a file system does not matter here.
    signature = replace(hit.signature, check=None)
    return replace(hit, signature=signature, cause=staying.cause, fix=staying.fix)
