"""The working folder on this node: create it, check that it is writable, and see which nodes share it."""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List

_TOKEN = re.compile(r"[A-Za-z0-9._-]{1,200}\Z")


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
