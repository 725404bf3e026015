"""Read a file that the user named, of any kind, in bounded time and memory."""

from __future__ import annotations

import os
import select
import stat
import time
from pathlib import Path

PIPE_TIMEOUT = 30.0  # seconds until a pipe (`<(...)`) must be at its end


class Unreadable(Exception):
    """The file cannot be read; the argument is the reason, to be printed after its name."""


class NotOpened(Unreadable):
    """The system cannot open the file: no permission, or an invalid name."""


def read_bounded(path: Path | str, max_bytes: int, timeout: float = PIPE_TIMEOUT) -> bytes:
    """Return the content of the file or pipe `path`.

    Raises FileNotFoundError; NotOpened; and Unreadable for a folder, a terminal, more than `max_bytes`, or
    a pipe that has not ended after `timeout` seconds.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise NotOpened(_open_failure(path, error)) from None
    except ValueError as error:  # a NUL in the path
        raise NotOpened(str(error)) from None
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise Unreadable("it is a folder")
        if os.isatty(descriptor):
            raise Unreadable("it is a terminal")
        return _read(descriptor, max_bytes, None if stat.S_ISREG(mode) else timeout)
    except OSError as error:
        raise Unreadable(str(error.strerror)) from None
    finally:
        os.close(descriptor)


def _open_failure(path: Path | str, error: OSError) -> str:
    try:
        if stat.S_ISSOCK(Path(path).stat().st_mode):
            return "it is a socket"
    except OSError:
        pass  # the first error explains more
    return str(error.strerror)


def _read(descriptor: int, max_bytes: int, timeout: float | None) -> bytes:
    """Read to the end; give up after `timeout` seconds (None: never, for a regular file)."""
    deadline = None if timeout is None else time.monotonic() + timeout
    content = bytearray()
    while len(content) <= max_bytes:
        if deadline is not None and not _wait_readable(descriptor, deadline):
            what = "it did not end" if content else "nothing came"
            raise Unreadable(f"{what} within {timeout:g} s")
        try:
            chunk = os.read(descriptor, min(1 << 20, max_bytes + 1 - len(content)))
        except BlockingIOError:
            continue  # another reader was faster
        if not chunk:
            return bytes(content)
        content += chunk
    raise Unreadable(f"over {max_bytes:,} bytes")


def _wait_readable(descriptor: int, deadline: float) -> bool:
    """Wait for data or the end of file; return False if the deadline passes first."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
