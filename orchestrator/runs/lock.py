"""One controller a run: it holds a lock in the run's folder, which ends with the process.

Another lock there is held by whoever starts a controller in the background, until that has the first one.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import OrchError
from orchestrator.node.trust import open_file
from orchestrator.runs.codec import decode, encode

_NAME, _STARTING = "controller.lock", "controller.starting"
_SIZE = 512  # bytes of the lock file: written over, so that a full disk has room for it
_TRY_EVERY = 0.02  # seconds
_LOOKED_AT_WITHIN = 1.0  # seconds for which somebody who only looks may hold it


@dataclass(frozen=True)
class Controller:
    """The controller of a run: the process `pid`, in the background or at somebody's terminal.

    `pid` is 0 where that cannot be told: it has only just begun, could not write it (a full disk), or is on
    another machine that has the same files.
    """

    pid: int
    background: bool

    @property
    def is_suspended(self) -> bool:
        """Whether the process is suspended, by Ctrl-Z say: it does nothing until it is continued."""
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


@dataclass(frozen=True)
class _Holder:
    """What the file of the lock says; `host` is None where an earlier version has written it."""

    pid: int
    background: bool
    host: str | None = None


class Lock:
    """The right to control a run; `release` gives it up, and so does the end of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, folder: Path, *, background: bool) -> Lock | None:
        """Return the lock of the run in `folder`; None when another process has it, or the folder has gone.

        Waits up to a second for somebody who only looks. Raises OSError when there can be no lock.
        """
        try:
            descriptor = open_file(str(folder / _NAME), os.O_RDWR | os.O_CREAT)
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
                time.sleep(_TRY_EVERY)
        if os.fstat(descriptor).st_nlink == 0:  # who had it until now has removed the run
            os.close(descriptor)
            return None
        said = json.dumps(encode(_Holder(os.getpid(), background, socket.gethostname())))
        with suppress(OSError):  # a full disk keeps nobody from minding a run, only his name
            os.pwrite(descriptor, said.encode().ljust(_SIZE), 0)
            os.ftruncate(descriptor, _SIZE)
        return cls(descriptor)

    def release(self) -> None:
        os.close(self._descriptor)


def find_controller(folder: Path) -> Controller | None:
    """Return the controller of the run in `folder`; None when it has none. Raises OrchError."""
    try:
        descriptor = open_file(str(folder / _NAME))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OrchError(
            f"nobody can tell who minds run {folder.name}: {error.filename}: {error.strerror}"
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        text = os.pread(descriptor, 4096, 0)
    finally:
        os.close(descriptor)
    try:
        holder: _Holder = decode(_Holder, json.loads(text))
    except (ValueError, RecursionError):  # it has the lock and has not said who it is
        return Controller(0, True)
    is_here = holder.host in (None, socket.gethostname())
    return Controller(holder.pid if is_here else 0, holder.background)


@asynccontextmanager
async def starting(folder: Path, patience: float) -> AsyncIterator[None]:
    """Be the only one who starts a controller for the run in `folder`.

    Waits for whoever does so now until there is a controller, but no longer than `patience` seconds: that
    process may be suspended, or its machine gone. Then, and where there can be no such lock, it goes on
    without: of two controllers that are started, one finds the run taken, and leaves.
    """
    try:
        descriptor = open_file(str(folder / _STARTING), os.O_RDWR | os.O_CREAT)
    except OSError:  # a full disk, or the run was removed
        yield
        return
    try:
        deadline = time.monotonic() + patience
        while _is_held(descriptor) and time.monotonic() < deadline:
            if find_controller(folder) is not None:
                break
            await asyncio.sleep(_TRY_EVERY)
        yield
    finally:
        os.close(descriptor)


def _is_held(descriptor: int) -> bool:
    """Take the lock, and return whether another process has it instead."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    return False
