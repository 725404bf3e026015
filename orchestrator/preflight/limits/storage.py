"""Storage: space for files where the job and orch write."""

from __future__ import annotations

import errno
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from orchestrator.preflight.answers import reader
from orchestrator.preflight.judge import each_node
from orchestrator.preflight.model import Group, Level, NodeContext, Probe, Status, check
from orchestrator.preflight.verdict import Verdict, fail, passed, warn
from orchestrator.util.quoting import command_line

_MIB, _GIB = 1 << 20, 1 << 30

# What should be free: for the script and checkpoints; for logs and status of a run; for sockets and such.
_MIN_FREE = {"workdir": 256 * _MIB, "state": 64 * _MIB, "tmp": 16 * _MIB}
_MIN_FOR_ORCH = 16 * _MIB
_NAMES = {"workdir": "the working folder", "state": "orch's own folder", "tmp": "the folder"}
_LOW, _LOW_SHARE = 5 * _GIB, 0.05
_MIN_FILES = 1000


def _role(raw: Any) -> str:
    return raw if raw in _NAMES else "tmp"


@dataclass(frozen=True)
class WriteError:
    """Why a small file could not be written."""

    errno: int
    text: str


@dataclass(frozen=True)
class Folder:
    """The space in one folder, in bytes and in files (`files` is 0 for no limit of them).

    `at` is the nearest existing folder above `path`; `noexec` is whether no program can be run there.
    """

    role: Annotated[str, _role]
    path: str
    at: Annotated[str, str]
    mount: str
    size: int
    free: int
    files: int
    free_files: int
    problem: WriteError | None
    noexec: bool = False

    def __str__(self) -> str:
        return f"{_NAMES[self.role]} {self.path} (on {self.mount})"

    @property
    def inodes(self) -> int | None:
        """How many more files it takes; None for no limit."""
        return self.free_files if self.files else None


DISK = Probe(
    "storage.disk", reader(tuple[Folder, ...]), lambda node: {"workdir": node.plan.workdir}
)


@check("disk", Group.LIMITS, Level.QUICK, probes=(DISK,))
@each_node
def check_disk(node: NodeContext) -> Sequence[Verdict]:
    """There is space to write where the job and orch write.

    Free bytes and inodes in the working folder (or where it will be made), in orch's own folder
    (`~/.local/state/orch`, the logs of runs) and in `/tmp`, and whether a small file can be written there.

    Fails if orch could not do its part: less than 16 MiB, no inode, or a write that fails (quota,
    permission, read-only) in its own folder, or in a working folder that the script is to be sent to.
    Also fails if orch's own folder is mounted noexec and the launcher is torchrun, or runs it (`fabric
    run`, `accelerate launch`). The same in `/tmp`, or in a working folder with `--no-sync`, warns: the
    job may write elsewhere. Also warns below 256, 64 and 16 MiB in this order, if less than 5 GiB and
    less than 5 % are left, and if there are fewer than 1000 inodes.
    """
    found = node.answer(DISK)
    data = {each.role: {"path": each.path, "free": each.free} for each in found}
    verdicts = [
        replace(
            verdict,
            data={
                "path": each.path,
                "mount": each.mount,
                "size": each.size,
                "free": each.free,
                "free_files": each.inodes,
            },
        )
        for each in found
        if (verdict := _judge(node, each)) is not None
    ]
    return verdicts or [passed("there is space for files", data=data)]


def _judge(node: NodeContext, folder: Folder) -> Verdict | None:
    """Return the worst that is wrong with one folder; None if nothing is."""
    status, problem, inodes = _severity(node, folder), folder.problem, folder.inodes
    or_another = ", or set another `workdir:` in the inventory" if folder.role == "workdir" else ""
    largest = f"du -xh --max-depth=2 {shlex.quote(folder.mount)} | sort -h | tail"
    free_space = f"free space on {folder.mount} (`{largest}`){or_another}"
    if problem is not None:
        message = f"{folder} cannot be written: {problem.text}"
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            return Verdict(status, message, free_space)
        text = f"make it writable for the user that logs in there{or_another}"
        return Verdict(status, message, text, _make_folder(node, folder, problem.errno))
    if folder.noexec and folder.role == "state" and _runs_launcher(node):
        launcher = node.context.plan.launcher
        remount = command_line(["mount", "-o", "remount,exec", folder.mount])
        return fail(
            f"{folder} is mounted noexec, and {launcher} runs a program of orch's there for every rank",
            "use --launcher direct, or mount it without noexec",
            (remount,) if folder.mount.startswith("/") else (),
        )
    if inodes == 0:
        return Verdict(
            status, f"{folder} takes no more files: all its inodes are in use", free_space
        )
    if folder.free < _MIN_FREE[folder.role]:
        message = f"{folder} has only {folder.free / _MIB:.0f} MiB left"
        return Verdict(status if folder.free < _MIN_FOR_ORCH else Status.WARN, message, free_space)
    if folder.free < min(_LOW, folder.size * _LOW_SHARE):
        left = f"{folder.free / _GIB:.1f} GiB left of {folder.size / _GIB:.0f} GiB"
        return warn(f"{folder} has {left}", free_space)
    if inodes is not None and inodes < _MIN_FILES:
        return warn(f"{folder} takes only {inodes} more files (inodes)", free_space)
    return None


def _runs_launcher(node: NodeContext) -> bool:
    return any(process.rank is None for process in node.plan.processes)


def _severity(node: NodeContext, folder: Folder) -> Status:
    """Return how bad it is that nothing can be written: fail if orch itself, or the sync, writes there.

    Whether the job writes in its working folder is not known, and programs do without /tmp.
    """
    script, has_job = node.context.script, bool(node.context.job.script)
    syncs = not has_job if script is None else script.folder is not None
    needed = folder.role == "state" or (folder.role == "workdir" and syncs)
    return Status.FAIL if needed else Status.WARN


def _make_folder(node: NodeContext, folder: Folder, number: int) -> tuple[str, ...]:
    """Return the line that makes a working folder where only root may; none if it exists.

    Made by root and given to the user, a new folder takes nothing from anyone.
    """
    if number != errno.EACCES or folder.role != "workdir" or folder.at == folder.path:
        return ()
    return (command_line(["install", "-d", "-o", str(node.facts.uid), node.plan.workdir]),)
