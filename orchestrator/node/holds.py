"""Which runs work in a folder, and which may change it now: locks that end with their holders.

A run that works in a folder has a lock there, held by the agent from before it places the run's files, and
then by its supervisor. There is one turn for all runs: the one that has it may compare, place, and take or
list holds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import Iterator, List, Optional, Tuple

from . import files, records

_AGENT_TIMEOUT = 1.0  # seconds to wait for the agent of a run that has ended


class Hold:
    """The lock of one run on a folder, once it is taken; `state` is orch's own folder for that."""

    def __init__(self) -> None:
        self.descriptors: List[int] = []  # one, or none
        """To be passed on to the process that must hold it as long as the run lives."""

    def take(self, state: str, run: str, node: str) -> None:
        """Take it, unless that is done. Raises OSError."""
        self.take_file(os.path.join(state, "runs"), "{}@{}".format(run, node))

    def take_file(self, folder: str, name: str) -> None:
        """Hold the file `name` in `folder`, and make them if there are none. Raises OSError.

        Others may hold it too: the next attempt of a run does before the previous one is forgotten.
        """
        if self.descriptors:
            return
        files.make_folder(folder)
        with _exclusive(folder):
            descriptor = files.open_own(os.path.join(folder, name), os.O_RDWR)
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        self.descriptors.append(descriptor)

    def release(self) -> None:
        """Release it here; a process that has inherited it still holds it."""
        while self.descriptors:
            os.close(self.descriptors.pop())


class Turn:
    """The permission to change a folder, from when it is taken until it is given up."""

    def __init__(self) -> None:
        self._descriptor: Optional[int] = None

    def take(self, state: str, run: str) -> Optional[str]:
        """Take it for `run`; return None, or the name of the run that has it."""
        files.make_folder(state)
        descriptor = files.open_own(os.path.join(state, "turn"), os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            name = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
            os.close(descriptor)
            return name or "another run"
        self._descriptor = descriptor
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, run.encode("utf-8"), 0)
        return None

    def give_up(self) -> None:
        """Let others take it; a process that has inherited it (a task's child) loses it too."""
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = None


def held(folder: str) -> List[str]:
    """Return the sorted names of the files in `folder` that a process holds; the others are removed."""
    if not os.path.isdir(folder):
        return []
    found = []
    with _exclusive(folder):
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
def _exclusive(folder: str) -> Iterator[None]:
    """Be the only process that takes or lists holds in `folder`.

    To list them takes the lock of each file for a moment: two processes at once would see each other's.
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

    Files of holds that have ended are removed. The agent of a run that has ended gets a moment to release
    its hold: it may not have noticed yet that its controller has hung up.
    """
    until = time.monotonic() + _AGENT_TIMEOUT
    while True:
        names = [name.rpartition("@") for name in held(os.path.join(state, "runs"))]
        live = [(run, node) for run, _, node in names if run != but]
        is_over = time.monotonic() >= until
        if is_over or not any(_has_ended(run, node) for run, node in live):
            return live
        time.sleep(0.02)


def _has_ended(run: str, node: str) -> bool:
    """Return whether the run's supervisor on `node` has recorded its end."""
    status = records.read_status(files.run_directory(run, node))
    return status is not None and status["state"] == "ended"
