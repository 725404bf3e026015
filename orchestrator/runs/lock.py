"""One controller per run: it locks a file in the run's folder until its process ends.

A second lock is held there while a background controller is being started.
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
_SIZE = 512  # bytes of the lock file, overwritten in place since that works on a full disk
_POLL_INTERVAL = 0.02  # seconds
_READ_TIME = 1.0  # seconds that a reader may hold the lock


@dataclass(frozen=True)
class Controller:
    """The controller of a run: the process `pid`, in the background or at a terminal.

    `pid` is 0 if it is unknown: the controller has just started, could not write it (a full disk), or is on
    another machine with the same files.
    """

    pid: int
    background: bool

    @property
    def is_suspended(self) -> bool:
        """Whether the process is suspended, for example with Ctrl-Z."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text(errors="replace")
        except OSError:  # it has just ended, or the system has no /proc
            ps = ["ps", "-o", "state=", "-p", str(self.pid)]
            try:
                done = subprocess.run(ps, capture_output=True, text=True, timeout=5, check=False)
            except (OSError, subprocess.SubprocessError):
                return False
            return done.stdout.strip().startswith("T")
        return stat.rpartition(")")[2].split()[:1] == ["T"]


@dataclass(frozen=True)
class _Holder:
    """The content of the lock file; `host` is None if an earlier version wrote it."""

    pid: int
    background: bool
    host: str | None = None


class Lock:
    """The right to control a run, until `release` or the end of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, folder: Path, *, background: bool) -> Lock | None:
        """Return the lock of the run in `folder`; None if another process has it or the folder is gone.

        Waits up to a second for processes that only read. Raises OSError if locks are not available.
        """
        try:
            descriptor = open_file(str(folder / _NAME), os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:
            return None
        deadline = time.monotonic() + _READ_TIME
        while not (is_taken := _try_lock(descriptor)) and time.monotonic() <= deadline:
            time.sleep(_POLL_INTERVAL)
        # No links: the last controller has removed the run.
        if not is_taken or os.fstat(descriptor).st_nlink == 0:
            os.close(descriptor)
            return None
        content = json.dumps(encode(_Holder(os.getpid(), background, socket.gethostname())))
        with suppress(OSError):  # a full disk: the run is controlled, but the PID is unknown
            os.pwrite(descriptor, content.encode().ljust(_SIZE), 0)
            os.ftruncate(descriptor, _SIZE)
        return cls(descriptor)

    def release(self) -> None:
        os.close(self._descriptor)


def find_controller(folder: Path) -> Controller | None:
    """Return the controller of the run in `folder`, None if it has none. Raises OrchError."""
    try:
        descriptor = open_file(str(folder / _NAME))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OrchError(
            f"the lock of run {folder.name} cannot be read: {error.filename}: {error.strerror}"
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
    except (ValueError, RecursionError):  # it has not written the file yet
        return Controller(0, True)
    is_here = holder.host in (None, socket.gethostname())
    return Controller(holder.pid if is_here else 0, holder.background)


@asynccontextmanager
async def starting(folder: Path, timeout: float) -> AsyncIterator[None]:
    """Allow only this process to start a controller for the run in `folder`.

    Waits for another one until there is a controller, for up to `timeout` seconds: that process may be
    suspended, or its machine down. Then, or if locks are not available, it continues without the lock: if
    two controllers are started, one of them finds the run taken and exits.
    """
    try:
        descriptor = open_file(str(folder / _STARTING), os.O_RDWR | os.O_CREAT)
    except OSError:  # a full disk, or the run was removed
        yield
        return
    try:
        deadline = time.monotonic() + timeout
        with suppress(OSError):  # a file system without locks
            while not _try_lock(descriptor) and time.monotonic() < deadline:
                if find_controller(folder) is not None:
                    break
                await asyncio.sleep(_POLL_INTERVAL)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    """Try to take the lock; return False if another process has it. Raises OSError."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
