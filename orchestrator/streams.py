"""The three standard streams, when they are closed or nobody reads them any more."""

from __future__ import annotations

import os
import sys


def open_all() -> None:
    """Put /dev/null where one of the three was closed, or the next file opened would take its place."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def silence(descriptor: int) -> None:
    """Let what is still written to `descriptor`, which nobody reads any more, go nowhere.

    Python would try to flush it as it ends, fail, and exit with 120.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
