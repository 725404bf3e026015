"""The folder of a run below /tmp, for files that cannot be in the run's own folder, such as sockets.

The path of a Unix socket has at most 107 bytes (sockaddr_un of unix(7)), which a home with a long name, the
run and the node can use up. The path follows from the name of the run, so that it is the same on every node
and anyone can remove the folder who knows the run. Nodes that are one machine share it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat

from . import trust

_MAX_NAME = 24  # characters: Ray's sockets take 68 bytes below the folder
_KEPT = 11  # characters of a longer name


def folder_of(run: str) -> str:
    """Return the path of the folder of `run`, of at most 34 characters."""
    name = run
    if len(run) > _MAX_NAME:
        digest = hashlib.sha256(run.encode()).hexdigest()
        name = "{}-{}".format(run[:_KEPT], digest[: _MAX_NAME - _KEPT - 1])
    return "/tmp/orch-" + name


def make(run: str) -> None:
    """Make the folder for its owner alone, unless it is there.

    Raises OSError: trust.Untrusted if another user owns it or can write to it, NotADirectoryError if it is
    not a folder.
    """
    path = folder_of(run)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        trust.own_folder(path, path)


def remove(run: str) -> None:
    """Remove the folder and all that is in it, if it is there and this user's.

    What cannot be removed stays: a run that has ended has no way left to report it.
    """
    path = folder_of(run)
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
        shutil.rmtree(path, ignore_errors=True)
