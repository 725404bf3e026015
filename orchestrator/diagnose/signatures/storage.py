"""Disks and files: full, read-only, not permitted, missing, not answering."""

from __future__ import annotations

from orchestrator.diagnose.signature import Signature

SIGNATURES = (
    Signature(
        id="disk.full",
        meaning="the disk is full",
        patterns=(r"No space left on device", r"\bno space left on device"),
        cause="the file system has no space, or no inodes, left",
        fix="free space (`df -h` and `df -i` on this node), or write elsewhere",
        check="disk",
        asks=("places",),
    ),
    Signature(
        id="disk.checkpoint",
        meaning="a checkpoint could not be written",
        patterns=(
            r"basic_ios::clear: iostream error",
            r"PytorchStreamWriter failed",
            r"inline_container\.cc.* unexpected pos \d+ vs \d+",
        ),
        cause="usually the disk is full, or the folder is not writable",
        fix="free space (`df -h` on this node), or write elsewhere; the file is incomplete",
        check="disk",
        asks=("places",),
    ),
    Signature(
        id="disk.file-limit",
        meaning="a file reached the size limit",
        patterns=(r"\[Errno 27\] File too large",),
        cause="a limit on the size of files (`ulimit -f`, RLIMIT_FSIZE) applies to the job on this node",
        fix="raise it: `fsize` in /etc/security/limits.conf, or `ulimit -f` in the login's start-up files",
        asks=("limits",),
    ),
    Signature(
        id="disk.quota",
        meaning="the quota is used up",
        patterns=(r"isk quota exceeded",),
        cause="the user's or project's share of the file system is full",
        fix="free space (`quota -s` shows the quota), or write elsewhere",
        check="disk",
        asks=("places",),
    ),
    Signature(
        id="disk.read-only",
        meaning="the file system is read-only",
        patterns=(r"Read-only file system",),
        cause="it is mounted read-only, or the kernel made it read-only after a disk error",
        fix="write elsewhere; `dmesg` shows disk errors",
        check="disk",
        is_survivable=True,
        asks=("places",),
    ),
    Signature(
        id="disk.permission",
        meaning="permission denied",
        patterns=(r"\bPermissionError: \[Errno 13\]", r"(?:^|: )Permission denied$"),
        cause="the user of the job may not read, write or execute this path",
        fix="ls -ld the path and its folders on this node; compare user ids between nodes (`id`)",
        check="user",
        is_survivable=True,
    ),
    Signature(
        id="disk.no-model",
        meaning="a model is not on this node",
        patterns=(
            r"Repo id must be in the form .{0,60}: '(?P<path>[./~][^'\n]{1,300})'",
            r"Incorrect path_or_model_id: '(?P<path>[./~][^'\n]{1,300})'",
            r"OSError: (?P<path>[./~]\S{1,300}) does not appear to have a file named",
        ),
        cause="{path} does not exist here, or is incomplete, so that the library takes it for the name of "
        "a download",
        fix="copy it to the same path on all nodes, or use shared storage",
        check="shared",
    ),
    Signature(
        id="disk.no-file",
        meaning="a file does not exist",
        patterns=(
            r"\bFileNotFoundError: \[Errno 2\] .*'(?P<path>[^'\n]{1,400})'",
            (
                r"\bFileNotFoundError: Couldn't find (?:any data file|a dataset script) at "
                r"(?P<path>/\S{1,300}\w)"
            ),
            r"\bFileNotFoundError: (?!\[)(?P<path>.{1,200})",
        ),
        cause="{path} is not on this node",
        fix="put the data at the same path on all nodes, or use shared storage",
        check="shared",
        is_survivable=True,
    ),
    Signature(
        id="disk.failing",
        meaning="the storage failed or does not answer",
        patterns=(
            r"\[Errno 5\] Input/output error",
            r"\[Errno 116\] Stale file handle",
            r"Transport endpoint is not connected",
        ),
        cause="a disk is failing, or the server of a network file system is gone",
        fix="remount it on this node; `dmesg` shows disk errors",
        check="disk",
        asks=("places",),
    ),
)
