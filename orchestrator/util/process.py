"""How a process begins: its three standard streams, its limit of files, its imports."""

from __future__ import annotations

import gc
import os
import sys

_FILES = 65536
_is_importing = False


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


def begin_imports() -> None:
    """Look for no garbage until `end_imports`: modules make a hundred thousand objects, and keep all.

    Looking at them again and again would be an eighth of the time until the first connection.
    """
    global _is_importing
    _is_importing = True
    gc.disable()


def end_imports() -> None:
    """Look for garbage from now on, among what is made from now on.

    Does nothing in a process that is not orch's own, where `begin_imports` was not called.
    """
    global _is_importing
    if not _is_importing:
        return
    _is_importing = False
    gc.freeze()
    gc.enable()


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
