"""What a process starts with and cannot rely on: its three standard streams, its limit of files."""

from __future__ import annotations

import os
import sys

_FILES = 65536


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


def raise_limits() -> None:
    """Allow this process as many open files as it may have: hundreds of nodes take a few each."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def silence(descriptor: int) -> None:
    """Let what is still written to `descriptor`, which nobody reads any more, go nowhere.

    Python would try to flush it as it ends, fail, and exit with 120.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
