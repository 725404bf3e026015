"""Standard output whose failed writes raise OutputError."""

from __future__ import annotations

import io
import os
import select
import sys
from typing import TYPE_CHECKING

from orchestrator.errors import OutputError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Descriptor(io.FileIO):
    """A file descriptor; a failed write raises OutputError, except for BrokenPipeError.

    One that another process has made non-blocking is waited for.
    """

    def write(self, data: ReadableBuffer) -> int:
        write_all(self.fileno(), data)
        return memoryview(data).nbytes


def write_all(descriptor: int, data: ReadableBuffer) -> None:
    """Write all of `data`, however long that takes. Raises OutputError or BrokenPipeError."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # another process has made it non-blocking
            select.select([], [descriptor], [])
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(error) from None


def guard_stdout() -> None:
    """Make failed writes to `sys.stdout` raise OutputError.

    A character that the encoding of the locale lacks is written as `?`.
    """
    sys.stdout.flush()
    raw = Descriptor(1, "w", closefd=False)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=sys.stdout.encoding,
        errors="replace",
        line_buffering=raw.isatty(),
    )
