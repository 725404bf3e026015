"""Write the few small files of a push, which came in the request itself, into a working folder.

The result is what rsync leaves: each file appears in one step under its name, with its mode and time.
Folders above it are made if they do not exist, and stay as they are if they do, also if they are links.
"""

from __future__ import annotations

import base64
import os
import secrets
from typing import Iterable, Tuple

from .manifest import Entry, entries_of, inflated

_LONGEST_NAME = 255 - len("..1234567890abcdef")  # bytes


def unpack(packed: str) -> Iterable[Tuple[Entry, bytes]]:
    """Return the entries of a request with the bytes of each file. Raises ValueError for anything else."""
    rows = inflated(packed)
    if not isinstance(rows, list):
        raise ValueError("not a list of files")
    entries = entries_of([row[:-1] for row in rows])
    return [(entry, base64.b64decode(row[-1])) for entry, row in zip(entries, rows)]


def write(folder: str, arrived: Iterable[Tuple[Entry, bytes]]) -> None:
    """Write the entries below `folder`. Raises OSError; then each is as it was, or written completely."""
    for entry, data in arrived:
        path = os.path.join(folder, entry.path)
        if entry.kind == "folder":
            os.makedirs(path, exist_ok=True)
            os.chmod(path, entry.mode)
            continue
        parent, name = os.path.split(path)
        os.makedirs(parent, exist_ok=True)
        short = os.fsdecode(os.fsencode(name)[:_LONGEST_NAME])
        temporary = os.path.join(parent, ".{}.{}".format(short, secrets.token_hex(8)))
        try:
            _make(temporary, entry, data)
            os.utime(temporary, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)
            os.rename(temporary, path)
        except OSError:
            _remove(temporary)
            raise


def _make(path: str, entry: Entry, data: bytes) -> None:
    if entry.kind == "link":
        os.symlink(entry.target, path)
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(descriptor, entry.mode)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
