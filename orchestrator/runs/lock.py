"""One controller a run: who minds it holds a lock in its folder, which ends with the process."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.runs.plain import parse

_NAME = "controller.lock"
_LOOKED_AT_WITHIN = 1.0  # seconds for which somebody who only looks may hold it


@dataclass(frozen=True)
class Controller:
    """Who minds a run: the process `pid`, in the background (a keeper) or at somebody's terminal.

    `pid` is 0 while that cannot be told: it has only just begun, or could not write it (a full disk).
    """

    pid: int
    background: bool

    @property
    def is_suspended(self) -> bool:
        """Whether somebody has stopped the process, with Ctrl-Z say: it minds nothing until it goes on."""
        try:
            said = Path(f"/proc/{self.pid}/stat").read_text(errors="replace")
        except OSError:  # it has just ended, or this system tells in another way
            ps = ["ps", "-o", "state=", "-p", str(self.pid)]
            try:
                done = subprocess.run(ps, capture_output=True, text=True, timeout=5, check=False)
            except (OSError, subprocess.SubprocessError):
                return False
            return done.stdout.strip().startswith("T")
        return said.rpartition(")")[2].split()[:1] == ["T"]


class Lock:
    """The right to mind a run; `release` gives it up, and so does the end of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, folder: Path, *, background: bool) -> Lock | None:
        """Return the lock of the run in `folder`; None when another process has it, or the folder has gone.

        Waits up to a second for somebody who only looks. Raises OSError when there can be no lock.
        """
        try:
            descriptor = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            return None
        deadline = time.monotonic() + _LOOKED_AT_WITHIN
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    return None
                time.sleep(0.02)
        if os.fstat(descriptor).st_nlink == 0:  # who had it until now has removed the run
            os.close(descriptor)
            return None
        text = json.dumps({"pid": os.getpid(), "background": background}).encode()
        with suppress(OSError):  # a full disk keeps nobody from minding a run, only his name
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, text, 0)
        return cls(descriptor)

    def release(self) -> None:
        os.close(self._descriptor)


def find_controller(folder: Path) -> Controller | None:
    """Return who minds the run in `folder`; None when nobody does."""
    try:
        descriptor = os.open(folder / _NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        text = os.pread(descriptor, 4096, 0)
    finally:
        os.close(descriptor)
    try:
        controller: Controller = parse(Controller, json.loads(text))
    except ValueError:  # it has the lock and has not said who it is
        return Controller(0, True)
    return controller
