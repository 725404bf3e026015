"""The working folder: finding that of a project, creating it, and seeing which nodes share it.

Each project has a folder of its own, which a file in it says in plain words.

A folder is free if it does not exist, or is empty. It is claimed by a file in it, which is made in one
step: if two processes claim a folder at once, also on hosts that share it, only one gets it.
"""

from __future__ import annotations

import errno
import json
import os
import re
from typing import Any, Dict, List, NamedTuple, Tuple

from . import files, trust

MARK = ".orch-project"
_END = re.compile(r"-[1-9][0-9]{0,3}\Z")
_MAX_FOLDERS = 1000  # of one name
_MAX_MARK_BYTES = 1 << 16
_TOKEN = re.compile(r"[A-Za-z0-9._-]{1,200}\Z")


class Folder(NamedTuple):
    """A project's folder: its path, whether it has just been claimed, and the names that others have:
    (path, the source of its owner; empty if that is unknown).
    """

    path: str
    is_new: bool
    passed: List[Tuple[str, str]]


def find(workdir: str, owner: str, source: str, create: bool) -> Folder:
    """Return the folder of the project `owner`: `workdir`, or `workdir`-2, -3, ... if others have that.

    It is the one that the project had before, else the first free one, which is claimed with `create`.
    `source` is where the project's files come from, in plain words. Raises OSError.
    """
    parent, name = os.path.split(os.path.abspath(os.path.expanduser(workdir)))
    if create:
        os.makedirs(parent, exist_ok=True)
    for number in _numbers(parent, name):
        path = _path(parent, name, number)
        if _owner_of(path).get("owner") == owner and _is_ours(path):
            return Folder(path, False, [])
    passed: List[Tuple[str, str]] = []
    for number in range(1, _MAX_FOLDERS):
        path = _path(parent, name, number)
        mark = _owner_of(path)
        if not mark and _is_free(path):
            if not create:
                return Folder(path, True, passed)
            mark = _claim(path, owner, source)
        if mark.get("owner") == owner and _is_ours(path):
            return Folder(path, True, passed)
        passed.append((path, mark.get("source", "")))
    raise OSError(errno.EEXIST, "there are {:d} folders of this name".format(_MAX_FOLDERS), workdir)


def _numbers(parent: str, name: str) -> List[int]:
    """Return the numbers of the folders of this name that exist."""
    try:
        ends = [each[len(name) :] for each in os.listdir(parent) if each.startswith(name)]
    except FileNotFoundError:
        return []
    return sorted(1 if end == "" else int(end[1:]) for end in ends if end == "" or _END.match(end))


def _path(parent: str, name: str, number: int) -> str:
    return os.path.join(parent, name if number == 1 else "{}-{:d}".format(name, number))


def _owner_of(path: str) -> Dict[str, str]:
    """Return the contents of the mark in a folder; nothing if there is none for this folder."""
    try:
        data = files.read_some(os.path.join(path, MARK), _MAX_MARK_BYTES)
        mark: Any = json.loads(data.decode("utf-8"))
        # A copy of a project's folder is not the project's folder.
        if mark["folder"] == os.path.basename(path):
            return {key: str(mark[key]) for key in ("owner", "source")}
    except (OSError, ValueError, KeyError, TypeError):
        pass  # there is none, or a person has edited it
    return {}


def _is_ours(path: str) -> bool:
    """Return whether the folder belongs to this user, as far as the file system distinguishes owners."""
    try:
        owner = os.stat(path).st_uid
    except OSError:
        return False
    return owner in (os.geteuid(), trust.unmapped())


def _is_free(path: str) -> bool:
    try:
        # What is left of a claim that was cut off does not count.
        return all(name.startswith(MARK + ".") for name in os.listdir(path)) and _is_ours(path)
    except FileNotFoundError:
        return not os.path.islink(path)
    except OSError:
        return False  # a file, or a folder of another user


def _claim(path: str, owner: str, source: str) -> Dict[str, str]:
    """Make the folder `path` and mark it; return the contents of its mark then."""
    os.makedirs(path, exist_ok=True)
    mark = os.path.join(path, MARK)
    value = {
        "about": "the working folder of a project that orch launches; files that orch placed are replaced",
        "folder": os.path.basename(path),
        "source": source,
        "owner": owner,
    }
    temporary = "{}.{}.tmp".format(
        mark, os.urandom(8).hex()
    )  # another host may have a process of this number
    with os.fdopen(files.create(temporary), "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
    try:
        _put(temporary, mark)
    finally:
        files.remove(temporary)
    return _owner_of(path)


def _put(temporary: str, mark: str) -> None:
    """Rename the file to `mark`, unless there is one. Raises OSError for anything else."""
    try:
        os.link(temporary, mark)
    except FileExistsError:
        pass  # another process was faster
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
            raise
        os.replace(temporary, mark)  # a file system without links


def prepare(workdir: str, token: str) -> Dict[str, Any]:
    """Create `workdir` (~ is home) and leave a sentinel file named by `token` in it.

    Returns {"workdir": absolute path, "free": bytes that this user can write there}. Raises OSError
    if it cannot be created or written.
    """
    path = os.path.abspath(os.path.expanduser(workdir))
    os.makedirs(path, exist_ok=True)
    os.close(os.open(_sentinel(path, token), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    disk = os.statvfs(path)
    return {"workdir": path, "free": disk.f_bavail * disk.f_frsize}


def shared(workdir: str, tokens: List[str]) -> List[str]:
    """Return the `tokens` whose sentinels are in `workdir`: those of the nodes that share the folder.

    Each is looked up by name and not in a listing: a network file system may serve an old listing, but it
    must ask its server for a name that was never looked up before.
    """
    return [token for token in tokens if os.path.exists(_sentinel(workdir, token))]


def tidy(workdir: str, token: str) -> None:
    """Remove the sentinel of this node."""
    try:
        os.unlink(_sentinel(workdir, token))
    except FileNotFoundError:
        pass  # it was never made


def _sentinel(path: str, token: str) -> str:
    if not _TOKEN.match(token):
        raise ValueError("not a token: {!r}".format(token))
    return os.path.join(path, ".orch-sentinel-" + token)
