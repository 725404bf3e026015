"""Where orch keeps its files on a node, their names, and how they are opened and replaced.

A script of the run can leave anything in the run's folder: a named pipe under the name of a log file, a
link, a folder, a record of 5 GB. So nothing here waits for a reader or a writer, follows a link in the
place of a file, or reads without a limit.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import time
from typing import Any, List

from . import trust

# The controller accepts the same names (`logs/stream.py`): no leading zero, and no number too large.
_RANK = r"rank-(0|[1-9][0-9]{0,6})"
ATTEMPT = re.compile(r"attempt-(0|[1-9][0-9]{0,3})\Z")
STREAM = re.compile(r"(?:" + _RANK + r"|launcher)\.(out|err)\Z")
RECORD = re.compile(_RANK + r"\.json\Z")

_RESERVE = "reserve"
_RESERVE_BYTES = 1 << 16
_MAX_RECORD_BYTES = 1 << 20  # orch's own have a few hundred
_RETRY_INTERVAL = 0.5  # seconds
_NO_FILE = (errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EISDIR)  # from open(2) of no regular file
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


def state_root() -> str:
    """Return orch's state folder of this user on this node (the same for all nodes with a shared home).

    It is the one that has this package, in `node/`: the inventory may name another than the default.
    """
    package, suffix, _ = __file__.partition(".pyz" + os.sep)
    if suffix:
        return os.path.dirname(os.path.dirname(os.path.abspath(package)))
    return os.path.join(os.path.expanduser("~"), ".local", "state", "orch")


def run_directory(run: str, node: str) -> str:
    """Return the folder of `run` on `node`; nodes that share a home have one each.

    Raises ValueError for a name that is not one path component, and trust.Untrusted if another user may
    have put the folder there.
    """
    for name in (run, node):
        if not _NAME.match(name):
            raise ValueError("not a name: {!r}".format(name))
    directory = os.path.join(state_root(), "runs", run, node)
    try:
        trust.own_folder(directory, state_root(), create=False)
    except (FileNotFoundError, NotADirectoryError):
        pass  # it does not exist yet
    return directory


def make_folder(path: str) -> None:
    """Make a folder of orch and its parents, for their owner alone, unless they exist.

    Raises OSError: trust.Untrusted if another user may have put it there.
    """
    trust.own_folder(path, state_root())


def remake_folder(path: str) -> None:
    """Make a folder below one that `make_folder` has made, and any parents that are gone.

    A file or link in its place is moved aside. Owners and modes are not checked: the environment of a rank
    may name another home.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            move_aside(path)
            os.mkdir(path, 0o700)
    except FileNotFoundError:  # a script has removed the run's folder
        remake_folder(os.path.dirname(path))
        remake_folder(path)


def attempt_folder(directory: str, attempt: int) -> str:
    """Return the folder of the log files of one attempt (from 0) of the run in `directory`."""
    return os.path.join(directory, "attempt-{:d}".format(attempt))


def attempts(directory: str, first: int) -> List[int]:
    """Return the attempts from `first` on that have a folder in `directory`, a run's, in order."""
    try:
        matches = [ATTEMPT.match(name) for name in os.listdir(directory)]
    except OSError:
        return []  # a script has removed it
    numbers = sorted(int(match.group(1)) for match in matches if match is not None)
    return [number for number in numbers if number >= first]


class NotAFile(OSError):
    """A path is not that of a regular file, but of a pipe, a folder, a link, a socket or a device."""


def open_file(path: str, flags: int = os.O_RDONLY) -> int:
    """Open the regular file at `path` without blocking; return its descriptor, which does block.

    Raises NotAFile for anything else at `path`, and OSError as os.open does.
    """
    flags |= os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise NotAFile(error.errno, "not a regular file", path) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotAFile(errno.EINVAL, "not a regular file", path)
    os.set_blocking(descriptor, True)  # as the process that inherits it expects
    return descriptor


def open_own(path: str, flags: int) -> int:
    """Open a file that orch itself writes, readable by its owner only; create it if there is none.

    What a script has put in its place is moved aside. Raises OSError.
    """
    try:
        return open_file(path, flags | os.O_CREAT)
    except (NotAFile, PermissionError):
        move_aside(path)
    return open_file(path, flags | os.O_CREAT)


def open_log(path: str) -> int:
    """Open a log file for appending, readable by its owner only; return its descriptor."""
    return open_own(path, os.O_WRONLY | os.O_APPEND)


def create(path: str, mode: int = 0o600) -> int:
    """Create a new file in place of anything at `path`; return its descriptor."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(path, flags, mode)
    except FileExistsError:
        remove(path)
    return os.open(path, flags, mode)


def move_aside(path: str) -> None:
    """Give what is at `path` another name beside it: orch must not delete it."""
    os.rename(path, "{}.{:d}.aside".format(path, time.time_ns()))


def remove(path: str) -> None:
    """Remove the file at `path`, if there is one; a folder is moved aside."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        move_aside(path)


def read_some(path: str, limit: int) -> bytes:
    """Return the first `limit` bytes of the regular file at `path`. Raises OSError."""
    with os.fdopen(open_file(path), "rb") as file:
        return file.read(limit)


def replace_file(path: str, data: bytes, mode: int = 0o600) -> None:
    """Replace anything at `path` with a file of this `data`, all at once.

    Raises OSError; then `path` is as it was, and no half file takes up space.
    """
    temporary = "{}.{:d}.tmp".format(path, os.getpid())
    try:
        with os.fdopen(create(temporary, mode), "wb") as file:
            file.write(data)
        try:
            os.replace(temporary, path)
        except IsADirectoryError:
            move_aside(path)
            os.replace(temporary, path)
    except OSError:
        remove(temporary)
        raise


def write_json(path: str, value: Any) -> None:
    """Replace the file at `path` with `value` as JSON, all at once. Raises OSError."""
    replace_file(path, json.dumps(value).encode("ascii"))


def read_json(path: str) -> Any:
    """Return the JSON in the file at `path`; None if there is no such file, or it is not whole.

    Raises OSError if there is a file that cannot be read.
    """
    try:
        data = read_some(path, _MAX_RECORD_BYTES + 1)
        return json.loads(data.decode("utf-8")) if len(data) <= _MAX_RECORD_BYTES else None
    except (FileNotFoundError, NotADirectoryError, NotAFile):
        return None
    except (ValueError, RecursionError):
        return None  # torn by a crash or a full disk, or a script wrote it


def set_room_aside(directory: str) -> None:
    """Reserve space for the last records of the run in `directory`, in case the disk is full by then."""
    replace_file(os.path.join(directory, _RESERVE), bytes(_RESERVE_BYTES))


def has_room_aside(directory: str) -> bool:
    """Return whether the space is still reserved, which it is until the disk was full."""
    path = os.path.join(directory, _RESERVE)
    return os.path.isfile(path) and not os.path.islink(path)


def release_room(path: str) -> bool:
    """Release the space reserved in the run's folder, one or two above `path`; False if it is gone."""
    folder = os.path.dirname(path)
    for place in (folder, os.path.dirname(folder)):
        try:
            os.unlink(os.path.join(place, _RESERVE))
            return True
        except OSError:
            continue
    return False


def try_to_write_json(path: str, value: Any, timeout: float) -> bool:
    """Write `value` as `write_json` does, for up to `timeout` seconds; return whether it was written.

    For callers with more to do than to write: neither a full disk nor a folder that a script has removed
    may stop them. The folder is made again; on a full disk the reserved space is released.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            remake_folder(os.path.dirname(path))
            write_json(path, value)
            return True
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT) and release_room(path):
                continue
            if time.monotonic() >= deadline:
                return False
            time.sleep(_RETRY_INTERVAL)
