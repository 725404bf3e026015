"""Disks and files: full, read-only, not permitted, not there, not answering."""

from __future__ import annotations

from orchestrator.diagnose.signature import Signature

SIGNATURES = (
    Signature(
        id="disk.full",
        meaning="the disk is full",
        patterns=(r"No space left on device",),
        cause="the file system that was written to has no space, or no inodes, left",
        fix="`df -h` and `df -i` on this node: make room, or write elsewhere",
        check="disk",
    ),
    Signature(
        id="disk.checkpoint",
        meaning="a checkpoint could not be written",
        patterns=(
            r"basic_ios::clear: iostream error",
            r"PytorchStreamWriter failed",
            r"inline_container\.cc.* unexpected pos \d+ vs \d+",
        ),
        cause="mostly the disk is full, or the folder cannot be written to",
        fix="`df -h` on this node: make room, or write elsewhere; what was written is torn",
        check="disk",
    ),
    Signature(
        id="disk.file-limit",
        meaning="a file has reached the limit on its size",
        patterns=(r"\[Errno 27\] File too large",),
        cause="a limit on the size of files (`ulimit -f`, RLIMIT_FSIZE) holds for the job on this node",
        fix="lift it in /etc/security/limits.conf (`fsize`) or in the login's start-up files; "
        "`ulimit -f` shows it",
    ),
    Signature(
        id="disk.quota",
        meaning="the quota is used up",
        patterns=(r"isk quota exceeded",),
        cause="the user's or project's share of the file system is full",
        fix="`quota -s`: make room, or write elsewhere",
        check="disk",
    ),
    Signature(
        id="disk.read-only",
        meaning="the file system is read-only",
        patterns=(r"Read-only file system",),
        cause="it is mounted so, or the kernel made it so after an error of the disk",
        fix="write elsewhere; `dmesg` tells of disk errors",
        check="disk",
        is_survivable=True,
    ),
    Signature(
        id="disk.permission",
        meaning="permission denied",
        patterns=(r"\bPermissionError: \[Errno 13\]", r"(?:^|: )Permission denied$"),
        cause="the user that runs the job may not read, write or execute this path",
        fix="`ls -ld` the path and its folders on this node; compare user ids between nodes",
        check="user",
        is_survivable=True,
    ),
    Signature(
        id="disk.no-file",
        meaning="a file is not there",
        patterns=(
            r"\bFileNotFoundError: \[Errno 2\] .*'(?P<path>[^'\n]{1,400})'",
            r"\bFileNotFoundError: (?!\[)(?P<path>.{1,200})",
        ),
        cause="{path} is not on this node",
        fix="bring the data to every node under the same path, or use shared storage",
        check="shared",
        is_survivable=True,
    ),
    Signature(
        id="disk.failing",
        meaning="the storage does not answer",
        patterns=(
            r"\[Errno 5\] Input/output error",
            r"\[Errno 116\] Stale file handle",
            r"Transport endpoint is not connected",
        ),
        cause="a disk fails, or the server of a network file system went away",
        fix="remount it on this node; `dmesg` tells of disk errors",
        check="disk",
    ),
)
