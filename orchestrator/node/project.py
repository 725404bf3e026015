"""Whose a working folder is: each project has one of its own, which says so in a file for people.

A folder is free when it is not there, or is empty. It is claimed by a file in it, which is made in one
step: of two that claim a folder at once, on hosts that share it too, one has it.
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
_MOST = 1000  # folders of one name
_LARGEST = 1 << 16  # bytes of a mark


class Folder(NamedTuple):
    """A project's folder: its path, whether it was claimed just now, and the names that others have:
    (path, what its owner's source is; empty where nobody says so).
    """

    path: str
    is_new: bool
    passed: List[Tuple[str, str]]


def find(wanted: str, owner: str, source: str, create: bool) -> Folder:
    """Return the folder of the project `owner`: `wanted`, or `wanted`-2, -3, ... where others have that.

    It is the one that the project had before, else the first free one, which is claimed if it is to
    `create` it. `source` tells a person where the project's files come from. Raises OSError.
    """
    parent, name = os.path.split(os.path.abspath(os.path.expanduser(wanted)))
    if create:
        os.makedirs(parent, exist_ok=True)
    for number in _numbers(parent, name):
        path = _path(parent, name, number)
        if _owner_of(path).get("owner") == owner and _is_ours(path):
            return Folder(path, False, [])
    passed: List[Tuple[str, str]] = []
    for number in range(1, _MOST):
        path = _path(parent, name, number)
        said = _owner_of(path)
        if not said and _is_free(path):
            if not create:
                return Folder(path, True, passed)
            said = _claim(path, owner, source)
        if said.get("owner") == owner and _is_ours(path):
            return Folder(path, True, passed)
        passed.append((path, said.get("source", "")))
    raise OSError(errno.EEXIST, "there are {:d} folders of this name".format(_MOST), wanted)


def _numbers(parent: str, name: str) -> List[int]:
    """Return the numbers of the folders of this name that there are."""
    try:
        ends = [each[len(name) :] for each in os.listdir(parent) if each.startswith(name)]
    except FileNotFoundError:
        return []
    return sorted(1 if end == "" else int(end[1:]) for end in ends if end == "" or _END.match(end))


def _path(parent: str, name: str, number: int) -> str:
    return os.path.join(parent, name if number == 1 else "{}-{:d}".format(name, number))


def _owner_of(path: str) -> Dict[str, str]:
    """Return what the mark in a folder says, nothing where there is none for this folder."""
    try:
        data = files.read_some(os.path.join(path, MARK), _LARGEST)
        said: Any = json.loads(data.decode("utf-8"))
        # A copy of a project's folder is not the project's folder.
        if said["folder"] == os.path.basename(path):
            return {key: str(said[key]) for key in ("owner", "source")}
    except (OSError, ValueError, KeyError, TypeError):
        pass  # there is none, or a person has edited it
    return {}


def _is_ours(path: str) -> bool:
    """Tell whether the folder belongs to this user, as far as the file system tells owners apart."""
    try:
        owner = os.stat(path).st_uid
    except OSError:
        return False
    return owner in (os.geteuid(), trust.unmapped())


def _is_free(path: str) -> bool:
    try:
        # What orch has left of a claim that was cut off is nobody's.
        return all(name.startswith(MARK + ".") for name in os.listdir(path)) and _is_ours(path)
    except FileNotFoundError:
        return not os.path.islink(path)
    except OSError:
        return False  # a file, or a folder of somebody else's


def _claim(path: str, owner: str, source: str) -> Dict[str, str]:
    """Make the folder `path` and mark it; return what its mark says then."""
    os.makedirs(path, exist_ok=True)
    mark = os.path.join(path, MARK)
    value = {
        "about": "the working folder of a project that orch launches; files that orch placed are replaced",
        "folder": os.path.basename(path),
        "source": source,
        "owner": owner,
    }
    temporary = "{}.{}.tmp".format(mark, os.urandom(8).hex())  # others' processes have our number
    with os.fdopen(files.create(temporary), "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
    try:
        _put(temporary, mark)
    finally:
        files.remove(temporary)
    return _owner_of(path)


def _put(temporary: str, mark: str) -> None:
    """Give the file its name, unless another has it. Raises OSError for anything else."""
    try:
        os.link(temporary, mark)
    except FileExistsError:
        pass  # somebody was quicker
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
            raise
        os.replace(temporary, mark)  # a file system without links
