"""Room for what has to be written on a full disk: set aside beforehand, or waited for.

Next to a file PATH, `PATH.reserve` holds blocks of the disk. Where there is no room for a new PATH, it is
written over these, which takes no new ones, and renamed.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.runs.folder import write_json

_FULL = (errno.ENOSPC, errno.EDQUOT)
_TRY_EVERY = 0.5  # seconds


def set_room_aside(path: Path, size: int) -> None:
    """Have `size` bytes set aside for the file at `path`. Raises OSError; then it is what there was."""
    descriptor = os.open(_reserve(path), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        before = os.fstat(descriptor).st_size
        os.lseek(descriptor, before, os.SEEK_SET)
        _write_all(descriptor, bytes(max(0, size - before)))
    finally:
        os.close(descriptor)


def release_room(path: Path) -> None:
    """Give back what is set aside for the file at `path`, if anything is. Raises OSError."""
    _reserve(path).unlink(missing_ok=True)


def replace_json(path: Path, value: Any) -> None:
    """Do as `write_json`; on a full disk, with the room that was set aside for `path`.

    Raises OSError; then the file is as it was.
    """
    try:
        write_json(path, value)
    except OSError as error:
        if error.errno not in _FULL or not _write_over_reserve(path, value):
            raise


async def write_within(
    seconds: float,
    write: Callable[[], None],
    *,
    on_wait: Callable[[OSError], None] = lambda error: None,
    give_up: Callable[[], bool] = lambda: False,
) -> None:
    """Call `write` until it succeeds, for up to `seconds`, or until `give_up` returns true.

    `on_wait` is told once why it has to wait. Raises the last OSError of `write`.
    """
    deadline = time.monotonic() + seconds
    is_waiting = False
    while True:
        try:
            write()
            return
        except FileNotFoundError:  # the run was removed: time does not help
            raise
        except OSError as error:
            if time.monotonic() >= deadline or give_up():
                raise
            if not is_waiting:
                is_waiting = True
                on_wait(error)
        await asyncio.sleep(_TRY_EVERY)


def _reserve(path: Path) -> Path:
    return path.with_name(f"{path.name}.reserve")


def _write_over_reserve(path: Path, value: Any) -> bool:
    """Return whether `value` is at `path` now; not where nothing, or too little, is set aside."""
    mine = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        _reserve(path).rename(mine)  # so that no other process writes over it too
    except FileNotFoundError:
        return False
    data = json.dumps(value, indent=1).encode()
    try:
        descriptor = os.open(mine, os.O_WRONLY | os.O_CLOEXEC)
        try:
            _write_all(descriptor, data)
            os.ftruncate(descriptor, len(data))
        finally:
            os.close(descriptor)
        mine.replace(path)
    except OSError:
        mine.rename(_reserve(path))
        return False
    return True


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
