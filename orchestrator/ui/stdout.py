"""Standard output whose failed writes raise OutputError."""

from __future__ import annotations

import io
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orchestrator.errors import OutputError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Descriptor(io.FileIO):
    """A file descriptor; a failed write raises OutputError, except for BrokenPipeError.

    One that another process has made non-blocking is waited for.
    """

    def write(self, data: ReadableBuffer) -> int:
        with output_errors():
            while (written := super().write(data)) is None:
                select.select([], [self], [])
        return written


@contextmanager
def output_errors() -> Iterator[None]:
    """Raise OutputError for an OSError of a write to standard output, except for BrokenPipeError."""
    try:
        yield
    except (BrokenPipeError, BlockingIOError):
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
