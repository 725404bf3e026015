"""Limits: what a job finds too little of once it runs. Shared memory, open files, memory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from orchestrator.preflight.answers import optional, text
from orchestrator.preflight.judge import judge_each
from orchestrator.preflight.limits import clock, sharing, storage
from orchestrator.preflight.model import Check, Context, Finding, Group, Level, NodeContext, Probe
from orchestrator.preflight.verdict import Verdict, fail, passed, warn
from orchestrator.util.quoting import command_line
from orchestrator.util.text import counted, user_name

_GIB = 1 << 30

_OPEN_FILES = 65536  # a rank has a socket a peer and channel, and files a data-loader worker
_PROCESSES = 8192  # threads count too: each rank has dozens, and so has each data-loader worker
_PLENTY_OF_FILES = 524288  # what systemd gives its services


@dataclass(frozen=True)
class SharedMemory:
    """The file system of /dev/shm, in bytes."""

    size: int
    free: int

    @classmethod
    def parse(cls, raw: Any) -> SharedMemory:
        return cls(int(raw["size"]), int(raw["free"]))


SHM: Probe[SharedMemory | None] = Probe("limits.shm", lambda raw: optional(SharedMemory.parse, raw))
"""None where there is no /dev/shm."""


def _shm(context: Context) -> list[Finding]:
    def verdict(node: NodeContext, found: SharedMemory | None) -> Verdict:
        if found is None:
            return fail(
                "there is no /dev/shm: NCCL and data loaders share memory there",
                "mount a tmpfs there",
                ("mkdir -p /dev/shm && mount -t tmpfs -o size=16g,mode=1777 shm /dev/shm",),
            )
        data = {"size": found.size, "free": found.free}
        if found.size < _GIB:
            return fail(
                f"/dev/shm is only {found.size / _GIB:.2f} GiB: NCCL and data loaders share memory there",
                "make it larger (in a container: --shm-size=16g or --ipc=host)",
                ("mount -o remount,size=16g /dev/shm",),
                data,
            )
        if found.free < _GIB:
            return warn(
                f"/dev/shm has {found.free / _GIB:.2f} GiB left of {found.size / _GIB:.1f} GiB",
                "see what lies there with `ls -la /dev/shm`, and remove what jobs that died have left "
                "(nccl-*, torch_*)",
                data=data,
            )
        return passed("/dev/shm is large enough", data=data)

    return judge_each(context, SHM, verdict)


@dataclass(frozen=True)
class LoginLimits:
    """What a process of this login may have, soft and hard; None is no limit."""

    user: str
    files: tuple[int | None, int | None]
    processes: tuple[int | None, int | None]
    most_files: int

    @classmethod
    def parse(cls, raw: Any) -> LoginLimits:
        return cls(
            user=user_name(str(raw["user"])),
            files=_pair(raw["files"]),
            processes=_pair(raw["processes"]),
            most_files=int(raw["most_files"]),
        )


LIMITS = Probe("limits", LoginLimits.parse)


def _pair(raw: Any) -> tuple[int | None, int | None]:
    soft, hard = raw
    return optional(int, soft), optional(int, hard)


def _limits(context: Context) -> list[Finding]:
    def verdict(node: NodeContext, found: LoginLimits) -> Verdict:
        troubles, lines = [], []
        if (soft := found.files[1]) is not None and soft < _OPEN_FILES:
            most = min(_PLENTY_OF_FILES, found.most_files)
            troubles.append(f"may have only {soft} files open at once")
            lines += [
                f"{found.user} soft nofile {min(_OPEN_FILES, most)}",
                f"{found.user} hard nofile {most}",
            ]
        threads = found.processes[0]
        # Root is not held to it (setrlimit(2)).
        if node.facts.uid != 0 and threads is not None and threads < _PROCESSES:
            troubles.append(f"may run only {threads} processes and threads")
            lines.append(f"{found.user} - nproc unlimited")
        data = {"files": found.files, "processes": found.processes}
        if not troubles:
            return passed("the limits of a login are wide enough", data=data)
        return warn(
            f"a login of {found.user} {' and '.join(troubles)}: many peers and data-loader workers "
            "need more",
            "raise the limit; it holds from the next login on, where sshd uses PAM (in a container: "
            "--ulimit nofile=524288)",
            (command_line(["printf", "%s\\n", *lines]) + " > /etc/security/limits.d/90-orch.conf",),
            data,
        )

    return judge_each(context, LIMITS, verdict)


@dataclass(frozen=True)
class ControlGroup:
    """The tightest control group above the agent, in bytes."""

    path: str
    limit: int
    used: int

    @property
    def left(self) -> int:
        return max(0, self.limit - self.used)


@dataclass(frozen=True)
class Memory:
    """The machine's memory in bytes; `group` None: no limit, `hidden`: it cannot be told."""

    total: int
    available: int
    group: ControlGroup | None
    hidden: bool

    @classmethod
    def parse(cls, raw: Any) -> Memory:
        group = raw["group"]
        limit = None
        if isinstance(group, dict):
            path = text(group["path"])
            limit = ControlGroup(path, int(group["limit"]), int(group["used"]))
        return cls(int(raw["total"]), int(raw["available"]), limit, group == "hidden")


MEMORY = Probe("memory", Memory.parse)
_UNIT = re.compile(r"[A-Za-z0-9@_.:-]{1,256}\.(slice|scope|service)\Z")


def _memory(context: Context) -> list[Finding]:
    def verdict(node: NodeContext, found: Memory) -> Verdict:
        ranks, group = node.plan.devices, found.group
        left = found.available if group is None else min(found.available, group.left)
        data = {
            "total": found.total,
            "available": found.available,
            "group": group and {"path": group.path, "limit": group.limit, "used": group.used},
        }
        if group is not None and group.left < found.available / 2:
            unit = group.path.rpartition("/")[2]
            return warn(
                f"its control group {group.path} has {group.left / _GIB:.1f} GiB left, though the machine "
                f"has {found.available / _GIB:.1f} GiB: ranks are killed at that limit",
                "raise the limit (in a container: --memory)",
                (command_line(["systemctl", "set-property", unit, "MemoryMax=infinity"]),)
                if _UNIT.match(unit)
                else (),
                data,
            )
        if left < ranks * _GIB:
            return warn(
                f"has only {left / _GIB:.1f} GiB of memory left for {counted(ranks, 'rank')}, and each "
                "needs about 1 GiB before any data",
                "see who has it with `ps -eo rss,pid,user,args --sort -rss | head`, or give the node "
                "fewer devices",
                data=data,
            )
        unseen = ", as far as can be seen: control groups are hidden there" if found.hidden else ""
        return passed(f"has memory enough for its ranks{unseen}", data=data)

    return judge_each(context, MEMORY, verdict)


CHECKS: tuple[Check, ...] = (
    storage.DISK_CHECK,
    sharing.SHARED_CHECK,
    sharing.USER_CHECK,
    Check(
        id="shm",
        group=Group.LIMITS,
        level=Level.FULL,
        meaning="/dev/shm is large enough for NCCL and data loaders",
        page="The size of the file system at `/dev/shm`. Less than 1 GiB fails: NCCL's transport between "
        "the GPUs of one node and the workers of a DataLoader share memory there, and die with a bus "
        "error when it is full. Less than 1 GiB left of it warns. Containers have 64 MiB unless told "
        "otherwise (`--shm-size=16g` or `--ipc=host`).",
        verdict=_shm,
        probes=(SHM,),
    ),
    Check(
        id="limits",
        group=Group.LIMITS,
        level=Level.FULL,
        meaning="a login may have enough files, processes and threads",
        page="The limits of the SSH session itself, which the ranks inherit as they are. A hard limit "
        "of less than 65536 open files warns, and so does a soft limit of less than 8192 processes "
        "and threads for a user other than root. A soft limit of open files that is lower (1024 is "
        "usual) is no fault: a program may raise it to the hard one. The remedy is a file in "
        "`/etc/security/limits.d`, which PAM reads at the next login.",
        verdict=_limits,
        probes=(LIMITS,),
    ),
    Check(
        id="memory",
        group=Group.LIMITS,
        level=Level.FULL,
        meaning="there is memory for the ranks, and no control group keeps it from them",
        page="MemAvailable of `/proc/meminfo`, and the tightest memory limit of the control groups "
        "(version 1 or 2) that the SSH session is in, less what is used there. Warns when a control "
        "group leaves less than half of what the machine has, for the kernel kills ranks at that limit "
        "with the machine half empty, and when less than 1 GiB is left for each rank.",
        verdict=_memory,
        probes=(MEMORY,),
    ),
    clock.CLOCK_CHECK,
)
