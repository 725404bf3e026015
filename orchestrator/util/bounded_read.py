"""Read a file that a person named: whatever it is, the reading ends."""

from __future__ import annotations

import os
import select
import stat
import time
from pathlib import Path

PATIENCE = 30.0  # seconds: what writes into a pipe (`<(...)`) has this long


class Unreadable(Exception):
    """The file cannot be read; the argument says why, in words that go after its name."""


class NotOpened(Unreadable):
    """The system does not open it: it is not ours to read, or no name that a file can have."""


def read_bounded(path: Path | str, most_bytes: int, patience: float = PATIENCE) -> bytes:
    """Return what is in the file `path`, or what comes out of the pipe that it is.

    Raises FileNotFoundError, NotOpened, and Unreadable for what is no file, is longer than `most_bytes`, or
    (a pipe) not at its end after `patience` seconds. A terminal is not waited for.
    """
    try:
        # Opening a pipe that nobody writes to would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise NotOpened(_why_not_opened(path, error)) from None
    except ValueError as error:  # a NUL in the path
        raise NotOpened(str(error)) from None
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise Unreadable("it is a folder")
        if os.isatty(descriptor):
            raise Unreadable("it is a terminal")
        if stat.S_ISREG(status.st_mode):
            return _read(descriptor, most_bytes, None)
        return _read(descriptor, most_bytes, patience)
    except OSError as error:
        raise Unreadable(str(error.strerror)) from None
    finally:
        os.close(descriptor)


def _why_not_opened(path: Path | str, error: OSError) -> str:
    try:
        if stat.S_ISSOCK(Path(path).stat().st_mode):
            return "it is a socket"
    except OSError:
        pass  # then the first error is the better one to tell
    return str(error.strerror)


def _read(descriptor: int, most_bytes: int, patience: float | None) -> bytes:
    """Read to the end; a pipe (`patience` is not None) until the time is up."""
    deadline = None if patience is None else time.monotonic() + patience
    content = bytearray()
    while len(content) <= most_bytes:
        if deadline is not None and not _is_ready(descriptor, deadline):
            what = "nothing came" if not content else "it did not end"
            raise Unreadable(f"{what} within {patience:g} s")
        try:
            chunk = os.read(descriptor, min(1 << 20, most_bytes + 1 - len(content)))
        except BlockingIOError:
            continue  # another reader was faster
        if not chunk:
            return bytes(content)
        content += chunk
    raise Unreadable(f"over {most_bytes:,} bytes")


def _is_ready(descriptor: int, deadline: float) -> bool:
    """Wait until there is something to read, or an end; False when the deadline comes first."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
