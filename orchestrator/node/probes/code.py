"""Hashes of the source files in the working folder, which must be the same on every node."""

from __future__ import annotations

import hashlib
import os
from typing import Any, Dict, Iterator, Optional

SUFFIXES = (".py", ".yaml", ".yml", ".toml", ".json", ".sh")

# Folders of output of jobs, and of other files that are not sources. Hidden folders are skipped as well.
_SKIPPED = {
    "__pycache__", "node_modules", "site-packages", "wandb", "runs", "lightning_logs", "tb_logs",
    "mlruns", "outputs", "multirun", "checkpoints", "logs", "data", "datasets",
}  # fmt: skip
_MAX_FILES = 5000
_MAX_TOTAL_BYTES = 64 << 20
_MAX_FILE_BYTES = 4 << 20  # a larger file is data


def code(workdir: str) -> Optional[Dict[str, Any]]:
    """Return {"files": {path below `workdir`: start of its SHA-256}, "cut": whether there were more}.

    None if there is no such folder. Files that cannot be read are left out.
    """
    if not os.path.isdir(workdir):
        return None
    found: Dict[str, str] = {}
    size = 0
    for path in _sources(workdir):
        if len(found) >= _MAX_FILES or size >= _MAX_TOTAL_BYTES:
            return {"files": found, "cut": True}
        try:
            with open(path, "rb") as file:
                data = file.read(_MAX_FILE_BYTES + 1)
        except OSError:
            continue
        if len(data) <= _MAX_FILE_BYTES:
            size += len(data)
            found[os.path.relpath(path, workdir)] = hashlib.sha256(data).hexdigest()[:16]
    return {"files": found, "cut": False}


def _sources(workdir: str) -> Iterator[str]:
    """Yield the regular files with a suffix of source files, in the same order everywhere."""
    for folder, folders, names in os.walk(workdir):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in _SKIPPED
            and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
        )
        for name in sorted(names):
            path = os.path.join(folder, name)
            if name.endswith(SUFFIXES) and os.path.isfile(path):
                yield path
