"""Storage: room for files where the job and orch write."""

from __future__ import annotations

import errno
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.preflight.answers import text
from orchestrator.preflight.judge import to_findings
from orchestrator.preflight.model import (
    Context,
    Finding,
    Group,
    Level,
    NoAnswer,
    NodeContext,
    Probe,
    Status,
    check,
)
from orchestrator.preflight.verdict import Verdict, fail, incomplete, passed, warn
from orchestrator.util.quoting import command_line

_MIB, _GIB = 1 << 20, 1 << 30

# What should be free: the script's folder and checkpoints; logs and status of a run; sockets and such.
_USUAL = {"workdir": 256 * _MIB, "state": 64 * _MIB, "tmp": 16 * _MIB}
_LEAST = 16 * _MIB  # where orch itself must write
_CALLED = {"workdir": "the working folder", "state": "orch's own folder", "tmp": "the folder"}
_LITTLE, _LITTLE_SHARE = 5 * _GIB, 0.05
_FEW_FILES = 1000


@dataclass(frozen=True)
class Room:
    """Room in one folder, in bytes and in files (None: no limit).

    `at` is the folder on the way to `path` that exists; `problem` is errno and text of a write. `noexec`
    is whether no program can be run from there.
    """

    role: str
    path: str
    at: str
    mount: str
    size: int
    free: int
    free_files: int | None
    problem: tuple[int, str] | None
    noexec: bool = False

    @classmethod
    def parse(cls, raw: Any) -> Room:
        problem = raw["problem"]
        return cls(
            role=str(raw["role"]) if raw["role"] in _USUAL else "tmp",
            path=text(raw["path"]),
            at=str(raw["at"]),
            mount=text(raw["mount"]),
            size=int(raw["size"]),
            free=int(raw["free"]),
            free_files=int(raw["free_files"]) if int(raw["files"]) else None,
            problem=None if problem is None else (int(problem["errno"]), text(problem["text"])),
            noexec=raw["noexec"] is True,
        )

    @property
    def place(self) -> str:
        return f"{_CALLED[self.role]} {self.path} (on {self.mount})"


def _rooms(raw: Any) -> tuple[Room, ...]:
    return tuple(Room.parse(entry) for entry in raw)


DISK = Probe("storage.disk", _rooms, arguments=lambda node: {"workdir": node.plan.workdir})


@check("disk", Group.LIMITS, Level.QUICK, probes=(DISK,))
def check_disk(context: Context) -> list[Finding]:
    """There is room to write where the job and orch write.

    Bytes and inodes that are free in the working folder (or where it will be made), in orch's own folder
    (`~/.local/state/orch`, the logs of runs) and in `/tmp`, and whether a small file can be written there.

    Fails where orch could not do its part: less than 16 MiB, no inode, or a write that fails (quota,
    permission, read-only) in its own folder, or in a working folder that the script is to be sent to.
    Fails, too, where orch's own folder is mounted noexec and the launcher is torchrun or `fabric run`. The
    same in `/tmp`, or in a working folder with `--no-sync`, warns: the job may write elsewhere. Warns also
    below 256, 64 and 16 MiB in this order, when less than 5 GiB and less than 5 % are left, and when there
    are fewer than 1000 inodes.
    """
    found = context.of(DISK)
    verdicts: list[tuple[str, Verdict]] = []
    for node in context.nodes:
        rooms = found[node.name]
        if isinstance(rooms, NoAnswer):
            verdicts.append((node.name, incomplete(rooms.reason)))
            continue
        troubles = [verdict for room in rooms for verdict in _troubles(node, room)]
        if not troubles:
            data = {room.role: {"path": room.path, "free": room.free} for room in rooms}
            troubles = [passed("there is room for files", data=data)]
        verdicts += [(node.name, trouble) for trouble in troubles]
    return to_findings(verdicts)


def _troubles(node: NodeContext, room: Room) -> Iterator[Verdict]:
    """Yield what is wrong with one folder: one thing at most, the worst."""
    data = {
        "path": room.path,
        "mount": room.mount,
        "size": room.size,
        "free": room.free,
        "free_files": room.free_files,
    }
    look = f"du -xh --max-depth=2 {shlex.quote(room.mount)} | sort -h | tail"
    make_room = f"make room on {room.mount} (`{look}`)"
    if room.role == "workdir":
        make_room += ", or set another `workdir:` in the inventory"
    if room.problem is not None and room.problem[0] not in (errno.ENOSPC, errno.EDQUOT):
        yield _unwritable(node, room, room.problem, data)
    elif room.problem is not None:
        told = f"{room.place} cannot be written: {room.problem[1]}"
        yield Verdict(_severity(node, room), told, make_room, data=data)
    elif room.noexec and room.role == "state" and _runs_launcher(node):
        told = (
            f"{room.place} is mounted noexec, and {node.context.plan.launcher} runs a program of orch's "
            "there for every rank"
        )
        command = command_line(["mount", "-o", "remount,exec", room.mount])
        mount = (command,) if room.mount.startswith("/") else ()
        yield fail(told, "use --launcher direct, or mount it without noexec", mount, data)
    elif room.free_files == 0:
        told = f"{room.place} takes no more files: all its inodes are in use"
        yield Verdict(_severity(node, room), told, make_room, data=data)
    elif room.free < _USUAL[room.role]:
        told = f"{room.place} has only {room.free / _MIB:.0f} MiB left"
        status = _severity(node, room) if room.free < _LEAST else Status.WARN
        yield Verdict(status, told, make_room, data=data)
    elif room.free < min(_LITTLE, room.size * _LITTLE_SHARE):
        told = f"{room.place} has {room.free / _GIB:.1f} GiB left of {room.size / _GIB:.0f} GiB"
        yield warn(told, make_room, data=data)
    elif room.free_files is not None and room.free_files < _FEW_FILES:
        told = f"{room.place} takes only {room.free_files} more files (inodes)"
        yield warn(told, make_room, data=data)


def _runs_launcher(node: NodeContext) -> bool:
    return any(process.rank is None for process in node.plan.processes)


def _severity(node: NodeContext, room: Room) -> Status:
    """Return what it is that nothing can be written: it stops orch in its own folder, and the sync.

    Whether the job writes in its working folder is not known, and programs find a place beside /tmp.
    """
    script, has_job = node.context.script, bool(node.context.job.script)
    syncs = not has_job if script is None else script.folder is not None
    return (
        Status.FAIL if room.role == "state" or (room.role == "workdir" and syncs) else Status.WARN
    )


def _unwritable(
    node: NodeContext, room: Room, problem: tuple[int, str], data: Mapping[str, Any]
) -> Verdict:
    commands: tuple[str, ...] = ()
    if problem[0] == errno.EACCES and room.role == "workdir" and room.at != room.path:
        # It is not there yet: made by root and given to the user, it takes nothing from anybody.
        make = ["install", "-d", "-o", str(node.facts.uid), node.plan.workdir]
        commands = (command_line(make),)
    return Verdict(
        _severity(node, room),
        f"{room.place} cannot be written: {problem[1]}",
        "make it writable for the user that logs in there"
        + (", or set another `workdir:` in the inventory" if room.role == "workdir" else ""),
        commands,
        data,
    )
