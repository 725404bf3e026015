"""Which runs work in a folder, and who may change it now: locks that end with those who hold them.

A run that works in a folder holds a lock there, by its supervisor, and from before its files are placed by
the agent that places them. The turn is one for all: who has it compares, places, and takes or looks at
holds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import Iterator, List, Optional, Tuple

from . import files, records

_LEAVING = 1.0  # seconds for which the agent of a run that has ended is waited for


class Hold:
    """The lock of one run on the folder that `state` is about."""

    def __init__(self, state: str, run: str, node: str) -> None:
        folder = os.path.join(state, "runs")
        self.descriptor = hold(folder, "{}@{}".format(run, node))

    def release(self) -> None:
        """Let go of it; whoever has inherited it has it still."""
        os.close(self.descriptor)


class Turn:
    """The right to change the folder that `state` is about, until it is given up."""

    def __init__(self, state: str) -> None:
        self._path = os.path.join(state, "turn")
        self._descriptor: Optional[int] = None
        files.make_folder(state)

    def take(self, run: str) -> Optional[str]:
        """Take it for `run`; return None, or the name of the run whose it is."""
        descriptor = files.open_own(self._path, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            said = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
            os.close(descriptor)
            return said or "another run"
        self._descriptor = descriptor
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, run.encode("utf-8"), 0)
        return None

    def give_up(self) -> None:
        """Let others have it; whoever has inherited it (a task's child) has it no more either."""
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = None


def hold(folder: str, name: str) -> int:
    """Hold the file `name` in `folder`, which is made; return its descriptor: who has it holds the file.

    Others may hold it too: an attempt that follows does before the one before it is forgotten.
    """
    files.make_folder(folder)
    with _alone(folder):
        descriptor = files.open_own(os.path.join(folder, name), os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return descriptor


def held(folder: str) -> List[str]:
    """Return the names of the files in `folder` that somebody holds, in order; the others are removed."""
    if not os.path.isdir(folder):
        return []
    found = []
    with _alone(folder):
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            descriptor = files.open_file(path, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path)
            except BlockingIOError:
                found.append(name)
            finally:
                os.close(descriptor)
    return found


@contextlib.contextmanager
def _alone(folder: str) -> Iterator[None]:
    """Be the only one who takes or looks at holds in `folder`, for a moment.

    Who looks has the lock of each file, as whoever holds it would: two at a time would see each other.
    """
    descriptor = files.open_own(folder + ".lock", os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def runs_in(state: str, but: str) -> List[str]:
    """Return the names of the runs that hold the folder, without the run `but`."""
    return sorted({run for run, _ in live_in(state, but)})


def live_in(state: str, but: str) -> List[Tuple[str, str]]:
    """Return the run and the node of each hold, without those of the run `but`.

    What runs have left that have ended is removed. The agent of a run that has ended is waited for, a
    moment: it may not have heard yet that its controller has hung up.
    """
    until = time.monotonic() + _LEAVING
    while True:
        live = [(run, node) for run, node in _holders(state) if run != but]
        is_over = time.monotonic() >= until
        if is_over or not any(_has_ended(run, node) for run, node in live):
            return live
        time.sleep(0.02)  # between two looks


def _holders(state: str) -> List[Tuple[str, str]]:
    """Return the run and the node of each hold on the folder."""
    names = [name.rpartition("@") for name in held(os.path.join(state, "runs"))]
    return [(run, node) for run, _, node in names]


def _has_ended(run: str, node: str) -> bool:
    """Tell whether the run's supervisor on `node` has said that it has ended."""
    status = records.read_status(files.run_directory(run, node))
    return status is not None and status["state"] == "ended"
