"""Fetch files from a node with rsync.

Data from a node is not trusted. The local rsync decides the names, and gets no option that lets it create
anything except regular files and folders. So a folder without links stays without links, and nothing is
written outside it. The number of bytes is limited to what the node has listed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from orchestrator.remote.base import Node
from orchestrator.sync.client import SERVER, local_rsync, running
from orchestrator.sync.failure import FETCH
from orchestrator.sync.relay import OnProgress, Transfer
from orchestrator.sync.remote_files import RemoteFile
from orchestrator.sync.tree import LEFTOVERS

_OPTIONS = (
    "--perms",
    "--times",
    "--modify-window=-1",
    "--no-implied-dirs",
    "--omit-dir-times",
    "--from0",
    "--files-from=-",
    "--ignore-missing-args",  # files that are gone since they were listed
    "--protect-args",  # the node's folder is sent in the protocol, not through a shell
    f"--partial-dir={LEFTOVERS}",  # a file gets its name once it is complete; the next fetch resumes
    "--stats",
    "--no-human-readable",
)
_SENDER = (*SERVER, "--sender")
# A live run keeps writing: a file may have grown since it was listed.
_SLACK = 64 << 20  # bytes, plus a tenth
_OVERHEAD = 4096  # bytes per file, for its name and the protocol


async def receive(
    node: Node,
    source: str,
    files: Sequence[RemoteFile],
    destination: Path,
    *,
    on_progress: OnProgress | None = None,
    stall_timeout: float = 60.0,
) -> None:
    """Fetch regular `files` below `source`, an absolute path on `node`, into the folder `destination`.

    A file gets its name once it is complete. No other process may write there: it must not contain links.
    See `Transfer` for the rest. Raises SyncError with the node, the cause and a remedy.
    """
    total = sum(file.size for file in files)
    max_bytes = _with_slack(total) + _OVERHEAD * len(files)
    where = str(destination)
    transfer = Transfer(node, FETCH, where, total, on_progress, stall_timeout, max_bytes)
    rsync = running(
        _options(files),
        f"node:{source}/",
        f"{destination}/",
        _listing(files),
        max_file_size=_with_slack(max(file.size for file in files)),
    )
    await transfer.run(rsync, expected=_SENDER)


def _options(files: Sequence[RemoteFile]) -> list[str]:
    options = list(_OPTIONS)
    if any(file.is_sparse for file in files):  # slow: every kilobyte is searched for zeros
        options.append("--sparse")
    # Since 3.2.5 rsync itself rejects names that were not requested, but misreads some with a backslash.
    if local_rsync().version >= (3, 2, 5) and any("\\" in file.path for file in files):
        options.append("--trust-sender")
    return options


def _with_slack(size: int) -> int:
    return size + size // 10 + _SLACK


def _listing(files: Sequence[RemoteFile]) -> bytes:
    """Return the names as `rsync --from0 --files-from` reads them: a # would start a comment."""
    return b"".join(b"./" + os.fsencode(file.path) + b"\0" for file in files)
