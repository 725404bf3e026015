"""Process start-up: standard streams, the limit of open files, garbage collection during imports."""

from __future__ import annotations

import gc
import os
import sys

_MAX_OPEN_FILES = 65536
# New objects after which unreachable ones are looked for, instead of Python's 700: a launch on 64 hosts
# makes 60,000, and nearly all of them are freed when their last reference goes.
_YOUNG_OBJECTS = 20_000
_is_gc_paused = False


def open_standard_streams() -> None:
    """Open /dev/null in place of a closed standard stream, so that no other file gets its descriptor."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def pause_gc() -> None:
    """Turn garbage collection off until `resume_gc`.

    Imports make a hundred thousand objects and free none; scanning them repeatedly would take an eighth
    of the time until the first connection.
    """
    global _is_gc_paused
    _is_gc_paused = True
    gc.disable()


def resume_gc() -> None:
    """Turn garbage collection on again, for objects made from now on.

    Does nothing in a process that has not called `pause_gc`, such as a program that uses orch's API.
    """
    global _is_gc_paused
    if not _is_gc_paused:
        return
    _is_gc_paused = False
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 20)
    gc.enable()


def raise_file_limit() -> None:
    """Raise the limit of open files to the hard limit: each node takes a few."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def discard_output(descriptor: int) -> None:
    """Redirect `descriptor`, which no longer has a reader, to /dev/null.

    Otherwise Python fails to flush it at exit, and exits with 120.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
