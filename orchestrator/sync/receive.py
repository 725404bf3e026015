"""Bring named files of a node here: rsync there as the sender, rsync here as the receiver.

What a node sends is not trusted. rsync gets the names from us, and no option by which it would make
anything but regular files and folders, so that a folder which holds no link holds none afterwards and
nothing is written outside it. The number of bytes is bounded by what the node has listed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from orchestrator.errors import NodeError, SyncError
from orchestrator.remote.base import Node
from orchestrator.sync.client import SERVER, running, version_here
from orchestrator.sync.converse import Meter, OnProgress, converse
from orchestrator.sync.failure import Cause, Failure, compiled
from orchestrator.sync.remote_files import RemoteFile
from orchestrator.sync.transfer import FINE
from orchestrator.sync.tree import LEFTOVERS

_OPTIONS = (
    "--perms",
    "--times",
    "--modify-window=-1",
    "--no-implied-dirs",
    "--omit-dir-times",
    "--from0",
    "--files-from=-",
    "--ignore-missing-args",  # what went since it was listed
    "--protect-args",  # the node's folder travels in the protocol, past every shell
    f"--partial-dir={LEFTOVERS}",  # a file has its name once it is whole; the next fetch goes on
    "--stats",
    "--no-human-readable",
)
_SENDER = (*SERVER, "--sender")
# A run that lives goes on writing: a file may have become larger since it was listed.
_SLACK = 64 << 20  # bytes, and a tenth
_OVERHEAD = 4096  # bytes a file, for its name and what the protocol says of it
_SAFE = "run it again: what has arrived is kept"


@dataclass(frozen=True)
class FetchFailure(Failure):
    """How a fetch ended; `destination` is on this machine."""

    without_rsync: ClassVar[str] = "or copy the files with scp"

    @property
    def causes(self) -> Sequence[Cause]:
        return _CAUSES


async def receive(
    node: Node,
    source: str,
    files: Sequence[RemoteFile],
    destination: Path,
    *,
    on_progress: OnProgress | None = None,
    stall_timeout: float = 60.0,
) -> None:
    """Bring regular `files` below `source`, an absolute path on `node`, into the folder `destination`.

    A file has its name there once it is whole. Nobody but this may write there: it must hold no links.
    `on_progress` is called at most ten times a second, and when all is done. Raises SyncError, with the
    node, the cause and a remedy; after `stall_timeout` seconds without a byte in either direction, too.
    """
    total = sum(file.size for file in files)
    most = _with_slack(total) + _OVERHEAD * len(files)
    patience = asyncio.timeout(stall_timeout)
    meter = Meter(node.name, total, on_progress, patience, stall_timeout)

    def received(count: int) -> None:
        meter.moved(count)
        if meter.count > most:
            raise SyncError(
                f"it sends more than it has listed ({total:,} bytes)",
                node=node.name,
                remedy="fetch again once the run writes less, or see what answers on the node: "
                f"orch ssh {node.name}",
            )

    try:
        async with (
            patience,
            running(
                _options(files),
                f"node:{source}/",
                f"{destination}/",
                _listing(files),
                largest=_with_slack(max(file.size for file in files)),
            ) as client,
        ):
            finished, there, said = await converse(
                node,
                client,
                on_sent=lambda _: meter.moved(),
                on_received=received,
                expected=_SENDER,
            )
    except TimeoutError:
        raise SyncError(
            f"nothing moved for {stall_timeout:g} s while files were being fetched "
            f"({meter.count:,} bytes had come)",
            node=node.name,
            remedy=f"see whether a disk hangs, and {_SAFE}",
        ) from None
    except NodeError as error:
        raise SyncError(error.text, node=error.node, remedy=error.remedy or _SAFE) from error
    if not {finished.code, there} <= FINE:
        where = str(destination)
        raise FetchFailure(node.name, where, finished.code, there, said + finished.stderr).error()
    meter.done()


def _options(files: Sequence[RemoteFile]) -> list[str]:
    options = list(_OPTIONS)
    if any(file.is_sparse for file in files):  # it is slow: of zeros every kilobyte is looked for
        options.append("--sparse")
    # Since 3.2.5 rsync itself sees that no other names come, but takes some with a backslash for others.
    if version_here() >= (3, 2, 5) and any("\\" in file.path for file in files):
        options.append("--trust-sender")
    return options


def _with_slack(size: int) -> int:
    return size + size // 10 + _SLACK


def _listing(files: Sequence[RemoteFile]) -> bytes:
    """Return the names as `rsync --from0 --files-from` reads them: a # would begin a comment."""
    return b"".join(b"./" + os.fsencode(file.path) + b"\0" for file in files)


_CAUSES = compiled(
    (
        (
            r"No space left on device",
            "the disk of this machine that holds {where} is full",
            f"free some space (df -h {{where}}) and {_SAFE}; or fetch less, or elsewhere (--to DIR)",
        ),
        (
            r"[Qq]uota exceeded",
            "the quota for {where} on this machine is used up",
            f"free some space (quota -s) and {_SAFE}; or fetch elsewhere (--to DIR)",
        ),
        (
            r"Read-only file system",
            "{where} is on a read-only file system",
            "fetch into another folder: --to DIR",
        ),
        (
            r"(\[sender\] |send_files ).*Permission denied|link_stat .*Permission denied",
            "a file on the node cannot be read by the user that logs in there",
            "change its permissions on the node, or name what can be read: orch fetch RUN PATTERN",
        ),
        (
            r"Permission denied|Operation not permitted",
            "{where} on this machine cannot be written",
            "change its owner or mode (ls -ld {where}), or fetch into another folder: --to DIR",
        ),
        (
            r"change_dir .*No such file or directory",
            "the run's working folder is gone from the node",
            "see what is there: orch exec -- ls",
        ),
        (
            r"File name too long|Invalid or incomplete multibyte|Illegal byte sequence",
            "the file system of {where} does not take a file's name",
            "fetch into another file system: --to DIR",
        ),
        (
            r"[Ii]nput/output error",
            "a disk failed",
            f"look at dmesg on both machines, and {_SAFE}",
        ),
        (
            r"unknown option|syntax or usage error",
            "the node's rsync is too old, or is none",
            "install rsync 3.0 or later there, or copy the files with scp",
        ),
    )
)
