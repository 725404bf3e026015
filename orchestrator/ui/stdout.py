"""Standard output that says what happened where it cannot be written."""

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
    """A descriptor; a write that fails is an OutputError, unless nobody reads any more.

    One that somebody has made non-blocking is waited for as if it were not.
    """

    def write(self, data: ReadableBuffer) -> int:
        with told_as_output():
            while (written := super().write(data)) is None:
                select.select([], [self], [])
        return written


@contextmanager
def told_as_output() -> Iterator[None]:
    """Raise OutputError for an OSError of a write to standard output; BrokenPipeError stays."""
    try:
        yield
    except (BrokenPipeError, BlockingIOError):
        raise
    except OSError as error:
        raise OutputError(error) from None


def guard_stdout() -> None:
    """Have all that is written to `sys.stdout` raise OutputError where it cannot be.

    A character that the encoding of the locale lacks is written as `?`: it is no reason to fail.
    """
    sys.stdout.flush()
    raw = Descriptor(1, "w", closefd=False)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=sys.stdout.encoding,
        errors="replace",
        line_buffering=raw.isatty(),
    )
