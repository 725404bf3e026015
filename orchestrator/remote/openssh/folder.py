"""The folder of the control sockets, and who uses each: a master serves all processes of a user.

Beside the socket `NAME` are two files with locks: a process holds `NAME.lock` while it starts or ends the
master, and `NAME.use` while it uses it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from orchestrator.errors import LaunchError

_MAX_PATH = 86  # bytes: 104 on macOS, without the suffix of 17 under which ssh creates the socket
_NAME = 24  # the longest name in the folder
_POLL_INTERVAL = 0.02  # seconds


def control_folder() -> Path:
    """Return the folder of this user's control sockets; create it. Raises LaunchError.

    It is not below $XDG_RUNTIME_DIR first, which may go away when the user logs out, before a run ends.
    """
    name = f"orch-ssh-{os.geteuid()}"
    places = [Path(tempfile.gettempdir(), name), Path("/tmp", name)]
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        places.append(Path(runtime, name))
    for place in places:
        if len(os.fsencode(place)) + 1 + _NAME <= _MAX_PATH and _make(place):
            return place
    raise LaunchError(
        f"there is no private folder for ssh's control sockets: tried {', '.join(map(str, places))}",
        remedy="set TMPDIR to a folder of yours with a short name",
    )


def _make(place: Path) -> bool:
    """Create the folder; tell whether it belongs to this user alone."""
    try:
        with suppress(FileExistsError):
            place.mkdir(mode=0o700)
    except OSError:
        return False
    found = place.lstat()
    is_own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    return is_own and not stat.S_IMODE(found.st_mode) & 0o077


@asynccontextmanager
async def claimed(path: Path) -> AsyncIterator[None]:
    """Let no other process start or end the master at `path` in this context; wait for one that does."""
    lock = path.with_suffix(".lock")
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if _is_locked(descriptor, fcntl.LOCK_EX) and _is_at(descriptor, lock):
                try:
                    yield
                finally:
                    if not path.with_suffix(".use").exists():
                        lock.unlink()
                return
        finally:
            os.close(descriptor)
        await asyncio.sleep(_POLL_INTERVAL)


class Use:
    """This process uses the master at `path`, until `end`."""

    def __init__(self, path: Path) -> None:
        """Begin; the path must be claimed."""
        self.path = path
        place = path.with_suffix(".use")
        self._descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def is_last(self) -> bool:
        """Return whether no other process uses the master; the path must be claimed."""
        return _is_locked(self._descriptor, fcntl.LOCK_EX)

    def end(self) -> None:
        """End the last use; the path must be claimed."""
        self.path.with_suffix(".use").unlink(missing_ok=True)
        os.close(self._descriptor)

    def abandon(self) -> None:
        """End, and leave the master as it is."""
        os.close(self._descriptor)


def _is_locked(descriptor: int, kind: int) -> bool:
    """Lock the file, if no other process holds it."""
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        return True
    return False


def _is_at(descriptor: int, path: Path) -> bool:
    """Tell whether the open file is still the one at `path`."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False
