"""Whose a project is: this user's on this machine, and which of the folders here it is."""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import secrets
import socket
from contextlib import suppress
from pathlib import Path

from orchestrator.errors import LaunchError
from orchestrator.node import trust
from orchestrator.runs.folder import ensure_private_folder, state_folder

_FILE = "id"
_ID = re.compile(rb"[0-9a-f]{32}\Z")


def owner_of(project: str) -> str:
    """Return what tells the project in this folder from those of other folders, users and machines.

    Raises LaunchError where this user's id cannot be kept.
    """
    return hashlib.sha256(_id() + b"\0" + os.fsencode(project)).hexdigest()[:32]


def source_of(project: str) -> str:
    """Return where the project's files come from, for people: user@machine:folder."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}:{project}"


def _id() -> bytes:
    """Return this user's id, which is made the first time that it is asked for."""
    path = state_folder() / _FILE
    try:
        ensure_private_folder(path.parent)
        for _ in range(2):
            found = _read(path)
            if found is not None:
                return found
            _make(path)
        path.unlink()  # a crash of the machine has left half of it
        _make(path)
        return path.read_bytes()
    except OSError as error:
        raise LaunchError(
            f"{path}, by which nodes know your projects, cannot be kept: {error.strerror}",
            remedy="make room there, or name another place with XDG_STATE_HOME",
        ) from None


def _read(path: Path) -> bytes | None:
    try:
        with os.fdopen(trust.open_file(str(path), own=True), "rb") as file:
            data = file.read(100)
    except FileNotFoundError:
        return None
    return data if _ID.match(data) else None


def _make(path: Path) -> None:
    """Make the file, all at once, unless somebody is quicker."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(16))
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
