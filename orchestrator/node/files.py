"""Where orch keeps its files on a node, what they are called, and how they are opened and replaced.

A script of the run can leave anything in the run's folder: a named pipe under the name of a log file, a
link, a folder, a record of 5 GB. So nothing here waits for a reader or a writer, follows a link in the
place of a file, or reads without a bound.
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

# The names that the controller takes too (`logs/stream.py`): no zero before a number, and none too large.
_RANK = r"rank-(0|[1-9][0-9]{0,6})"
ATTEMPT = re.compile(r"attempt-(0|[1-9][0-9]{0,3})\Z")
STREAM = re.compile(r"(?:" + _RANK + r"|launcher)\.(out|err)\Z")
RECORD = re.compile(_RANK + r"\.json\Z")

_RESERVE = "reserve"
_LARGEST_RECORD = 1 << 20  # bytes; orch's own have a few hundred
_NO_FILE = (errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EISDIR)  # what open(2) says of those
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


def state_root() -> str:
    """Return orch's state folder of this user on this node (the same for every node of a shared home)."""
    return os.path.join(os.path.expanduser("~"), ".local", "state", "orch")


def run_directory(run: str, node: str) -> str:
    """Return the folder of `run` on `node`; nodes that share a home have a folder each.

    Raises ValueError for a name that is not one path component, and trust.Untrusted where somebody else
    may have put the folder there.
    """
    for name in (run, node):
        if not _NAME.match(name):
            raise ValueError("not a name: {!r}".format(name))
    directory = os.path.join(state_root(), "runs", run, node)
    try:
        trust.own_folder(directory, state_root(), create=False)
    except (FileNotFoundError, NotADirectoryError):
        pass  # there is none yet
    return directory


def make_folder(path: str) -> None:
    """Make a folder of orch with those above it, for its owner alone, unless it is there.

    Raises OSError: trust.Untrusted where somebody else may have put it there.
    """
    trust.own_folder(path, state_root())


def remake_folder(path: str) -> None:
    """Make a folder below that of a run which `make_folder` has made, and those above it that have gone.

    A file or link in its place is moved aside. It does not judge them: a rank's environment may name
    another home.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            move_aside(path)
            os.mkdir(path, 0o700)
    except FileNotFoundError:  # a script has removed the run's
        remake_folder(os.path.dirname(path))
        remake_folder(path)


def attempt_name(attempt: int) -> str:
    """Return the name of the folder that holds the log files of one attempt (from 0)."""
    return "attempt-{:d}".format(attempt)


def attempts(directory: str, first: int) -> List[int]:
    """Return the numbers of the attempts from `first` on that have a folder in that of a run, in order."""
    try:
        matches = [ATTEMPT.match(name) for name in os.listdir(directory)]
    except OSError:
        return []  # a script has removed it
    numbers = sorted(int(match.group(1)) for match in matches if match is not None)
    return [number for number in numbers if number >= first]


class NotAFile(OSError):
    """What stands at a path is no regular file: a pipe, a folder, a link, a socket, a device."""


def open_file(path: str, flags: int = os.O_RDONLY) -> int:
    """Open the regular file at `path`, without waiting for anybody; return its descriptor.

    Raises NotAFile for anything else that stands there, OSError as os.open does.
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
    os.set_blocking(descriptor, True)  # as whoever inherits it expects
    return descriptor


def open_own(path: str, flags: int) -> int:
    """Open a file that orch itself writes, readable by its owner only; make it where there is none.

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
    """Make a new file in the place of whatever stands at `path`; return its descriptor."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(path, flags, mode)
    except FileExistsError:
        pass
    try:
        os.unlink(path)
    except IsADirectoryError:
        move_aside(path)
    return os.open(path, flags, mode)


def replace(temporary: str, path: str) -> None:
    """Rename `temporary` to `path`, whatever stands there."""
    try:
        os.replace(temporary, path)
    except IsADirectoryError:
        move_aside(path)
        os.replace(temporary, path)


def move_aside(path: str) -> None:
    """Give what stands at `path` another name beside it: it is not ours to delete."""
    os.rename(path, "{}.{:d}.aside".format(path, time.time_ns()))


def read_some(path: str, most: int) -> bytes:
    """Return the first bytes of the regular file at `path`, at most so many. Raises OSError."""
    with os.fdopen(open_file(path), "rb") as file:
        return file.read(most)


def write_json(path: str, value: Any) -> None:
    """Replace the file at `path` with `value` as JSON, all at once."""
    temporary = "{}.{}.tmp".format(path, os.getpid())
    with os.fdopen(create(temporary), "w", encoding="utf-8") as file:
        json.dump(value, file)
    replace(temporary, path)


def set_room_aside(directory: str) -> None:
    """Take room on the disk for a run's last words, for the case that the disk is full by then."""
    path = os.path.join(directory, _RESERVE)
    descriptor = open_own(path, os.O_WRONLY)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(bytes(1 << 16))
    except OSError:
        os.unlink(path)  # half of it is no room to count on
        raise


def has_room_aside(directory: str) -> bool:
    """Tell whether the room is still there, which it is until the disk was full."""
    try:
        return stat.S_ISREG(os.lstat(os.path.join(directory, _RESERVE)).st_mode)
    except OSError:
        return False


def try_to_write_json(path: str, value: Any, patience: float) -> bool:
    """Do as `write_json`, for up to `patience` seconds; return whether it was written.

    For those who have more to do than to write: a full disk or a folder that a script has removed must
    not keep them from it. A folder that is gone is made again; a full disk gets the room back that was
    set aside.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            remake_folder(os.path.dirname(path))
            write_json(path, value)
            return True
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT) and give_room_back(path):
                continue
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.5)


def give_room_back(path: str) -> bool:
    """Remove what was set aside in the run's folder, one or two above `path`; False if it is gone."""
    folder = os.path.dirname(path)
    for place in (folder, os.path.dirname(folder)):
        try:
            os.unlink(os.path.join(place, _RESERVE))
            return True
        except OSError:
            continue
    return False


def remove(path: str) -> None:
    """Remove the file at `path`, if there is one."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        move_aside(path)


def read_json(path: str) -> Any:
    """Return the JSON at `path`, or None where there is no such file, or none that is whole.

    Raises OSError where there is one that cannot be read.
    """
    try:
        data = read_some(path, _LARGEST_RECORD + 1)
    except (FileNotFoundError, NotADirectoryError, NotAFile):
        return None
    if len(data) > _LARGEST_RECORD:
        return None  # a script wrote it
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return None  # torn by a crash or a full disk, or a script wrote it
