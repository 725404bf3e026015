"""Writes that must succeed on a full disk: they use reserved space, or are retried.

Next to a file PATH, `PATH.reserve` holds blocks of the disk. If there is no space for a new PATH, it is
written over the reserve, which needs no new blocks, and renamed.
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

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_RETRY_INTERVAL = 0.5  # seconds


def reserve_space(path: Path, size: int) -> None:
    """Reserve `size` bytes for the file at `path`. Raises OSError; then less may be reserved."""
    descriptor = os.open(_reserve(path), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        before = os.fstat(descriptor).st_size
        os.lseek(descriptor, before, os.SEEK_SET)
        _write_all(descriptor, bytes(max(0, size - before)))
    finally:
        os.close(descriptor)


def release_space(path: Path) -> None:
    """Release the space that is reserved for the file at `path`, if any. Raises OSError."""
    _reserve(path).unlink(missing_ok=True)


def replace_json(path: Path, value: Any) -> None:
    """Like `write_json`, but on a full disk use the space that was reserved for `path`.

    Raises OSError; then the file is unchanged.
    """
    try:
        write_json(path, value)
    except OSError as error:
        if error.errno not in _DISK_FULL or not _write_over_reserve(path, value):
            raise


async def write_within(
    timeout: float,
    write: Callable[[], None],
    *,
    on_wait: Callable[[OSError], None] = lambda error: None,
    give_up: Callable[[], bool] = lambda: False,
) -> None:
    """Call `write` until it succeeds, for up to `timeout` seconds, or until `give_up` returns true.

    `on_wait` is called once, with the first error. Raises the last OSError of `write`.
    """
    deadline = time.monotonic() + timeout
    is_waiting = False
    while True:
        try:
            write()
            return
        except FileNotFoundError:  # the run was removed: waiting does not help
            raise
        except OSError as error:
            if time.monotonic() >= deadline or give_up():
                raise
            if not is_waiting:
                is_waiting = True
                on_wait(error)
        await asyncio.sleep(_RETRY_INTERVAL)


def _reserve(path: Path) -> Path:
    return path.with_name(f"{path.name}.reserve")


def _write_over_reserve(path: Path, value: Any) -> bool:
    """Return whether `value` was written to `path`; not if too little or no space is reserved."""
    data = json.dumps(value).encode()
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        _reserve(path).rename(temporary)  # now no other process can use it
    except FileNotFoundError:
        return False
    try:
        with temporary.open("r+b", buffering=0) as file:
            _write_all(file.fileno(), data)
            file.truncate(len(data))
        temporary.replace(path)
    except OSError:
        temporary.rename(_reserve(path))
        return False
    return True


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
