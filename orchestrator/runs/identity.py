"""The owner of a project: this user on this machine, and the project's folder."""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import secrets
import socket
from pathlib import Path

from orchestrator.errors import LaunchError
from orchestrator.node import trust
from orchestrator.runs.folder import ensure_private_folder, state_folder, write_private

_FILE = "id"
_ID = re.compile(rb"[0-9a-f]{32}\Z")


def owner_of(project: str) -> str:
    """Return the id of the project in this folder, which differs between folders, users and machines.

    Raises LaunchError if the id of this user cannot be stored.
    """
    return hashlib.sha256(_id() + b"\0" + os.fsencode(project)).hexdigest()[:32]


def source_of(project: str) -> str:
    """Return where the project's files come from, for messages: user@machine:folder."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, in a container
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}:{project}"


def _id() -> bytes:
    """Return this user's id; create it on first use."""
    path = state_folder() / _FILE
    try:
        ensure_private_folder(path.parent)
        for _ in range(2):
            found = _read(path)
            if found is not None:
                return found
            write_private(path, secrets.token_hex(16), overwrite=False)
        write_private(path, secrets.token_hex(16), overwrite=True)  # a crash has torn it
        return path.read_bytes()
    except OSError as error:
        raise LaunchError(
            f"{path}, which identifies your projects on nodes, cannot be stored: {error.strerror}",
            remedy="free disk space there, or set XDG_STATE_HOME to another folder",
        ) from None


def _read(path: Path) -> bytes | None:
    try:
        with os.fdopen(trust.open_file(str(path), own=True), "rb") as file:
            data = file.read(100)
    except FileNotFoundError:
        return None
    return data if _ID.match(data) else None
