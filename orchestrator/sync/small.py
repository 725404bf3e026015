"""Pack the few small files of a push into the request to a node: no rsync and no session of its own.

For a script and some modules, starting rsync here and on every node takes far longer than sending them.
"""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Sequence
from typing import Any

from orchestrator.sync.tree import Entry, Tree

MOST_BYTES = 256 << 10
"""Of all files together."""
MOST_FILES = 256


def packed_files(tree: Tree, entries: Sequence[Entry]) -> str | None:
    """Return `entries` of `tree` with their bytes as text for a request; `node/arrive.py` reads it.

    None if rsync must send them: too many or too large files, several names of one file, or a file that
    cannot be read or changes meanwhile.
    """
    if len(entries) > MOST_FILES or sum(entry.size for entry in entries) > MOST_BYTES:
        return None
    if tree.repeated:
        return None
    rows = []
    for entry in entries:
        size, mtime_ns, mode, data = entry.size, entry.mtime_ns, entry.mode, b""
        if entry.kind == "file":
            try:
                data = _read(os.path.join(tree.root, entry.path), entry)  # noqa: PTH118
            except (OSError, _Changed):
                return None
        row: list[Any] = [entry.path, entry.kind, size, mtime_ns, mode, entry.target]
        rows.append([*row, base64.b64encode(data).decode("ascii")])
    text = json.dumps(rows, separators=(",", ":")).encode("ascii")
    return base64.b64encode(zlib.compress(text, 1)).decode("ascii")


class _Changed(Exception):
    """A file is not as it was when the folder was read."""


def _read(path: str, entry: Entry) -> bytes:
    """Return the bytes of the file. Raises OSError and _Changed."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with os.fdopen(os.open(path, flags), "rb") as file:
        data = file.read(entry.size + 1)
        status = os.fstat(file.fileno())
    if (len(data), status.st_size, status.st_mtime_ns) != (entry.size, entry.size, entry.mtime_ns):
        raise _Changed
    return data
