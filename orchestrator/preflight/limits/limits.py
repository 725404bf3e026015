"""Limits that a job hits while it runs: shared memory, open files, processes, memory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from orchestrator.preflight.answers import reader
from orchestrator.preflight.judge import each_node
from orchestrator.preflight.limits import clock, sharing, storage
from orchestrator.preflight.model import Check, Group, NodeContext, Probe, check
from orchestrator.preflight.verdict import Verdict, fail, passed, warn
from orchestrator.util.answers import optional
from orchestrator.util.quoting import command_line
from orchestrator.util.text import counted, user_name

_GIB = 1 << 30

_MIN_FILES = 65536  # a rank has a socket per peer and channel, and files per data-loader worker
_MIN_PROCESSES = 8192  # threads count: a rank has dozens, and so has each data-loader worker
_MANY_FILES = 524288  # what systemd gives its services


@dataclass(frozen=True)
class SharedMemory:
    """The file system of /dev/shm, in bytes."""

    size: int
    free: int


SHM: Probe[SharedMemory | None] = Probe("limits.shm", partial(optional, reader(SharedMemory)))
"""None if there is no /dev/shm."""


@check("shm", Group.LIMITS, probes=(SHM,))
@each_node
def check_shm(node: NodeContext) -> Verdict:
    """/dev/shm is large enough for NCCL and data loaders.

    The size of the file system at `/dev/shm`. Less than 1 GiB fails: NCCL's transport between the GPUs of
    one node and the workers of a DataLoader share memory there, and die with a bus error when it is full.
    Less than 1 GiB free warns. Containers have 64 MiB unless started with `--shm-size=16g` or `--ipc=host`.
    """
    found = node.answer(SHM)
    if found is None:
        return fail(
            "there is no /dev/shm, which NCCL and data loaders need",
            "mount a tmpfs there",
            ("mkdir -p /dev/shm && mount -t tmpfs -o size=16g,mode=1777 shm /dev/shm",),
        )
    if found.size < _GIB:
        return fail(
            f"/dev/shm is only {found.size / _GIB:.2f} GiB: NCCL and data loaders need more",
            "make it larger (in a container: --shm-size=16g or --ipc=host)",
            ("mount -o remount,size=16g /dev/shm",),
            vars(found),
        )
    if found.free < _GIB:
        return warn(
            f"/dev/shm has {found.free / _GIB:.2f} GiB left of {found.size / _GIB:.1f} GiB",
            "list it with `ls -la /dev/shm`, and remove what dead jobs have left (nccl-*, torch_*)",
            data=vars(found),
        )
    return passed("/dev/shm is large enough", data=vars(found))


@dataclass(frozen=True)
class LoginLimits:
    """The limits of a process of this login, soft and hard; None is no limit."""

    user: Annotated[str, user_name]
    files: tuple[int | None, int | None]
    processes: tuple[int | None, int | None]
    most_files: int


LIMITS = Probe("limits", reader(LoginLimits))


@check("limits", Group.LIMITS, probes=(LIMITS,))
@each_node
def check_limits(node: NodeContext) -> Verdict:
    """A login may have enough files, processes and threads.

    The limits of the SSH session itself, which the ranks inherit unchanged. A hard limit of less than 65536
    open files warns, and so does a soft limit of less than 8192 processes and threads for a user other than
    root. A lower soft limit of open files (1024 is usual) is not a problem: a program may raise it to the
    hard one. The remedy is a file in `/etc/security/limits.d`, which PAM reads at the next login.
    """
    found = node.answer(LIMITS)
    data = {"files": found.files, "processes": found.processes}
    troubles, lines = [], []
    if (files := found.files[1]) is not None and files < _MIN_FILES:
        most = min(_MANY_FILES, found.most_files)
        troubles.append(f"at most {files} open files")
        lines += [
            f"{found.user} soft nofile {min(_MIN_FILES, most)}",
            f"{found.user} hard nofile {most}",
        ]
    threads = found.processes[0]
    # It does not apply to root (setrlimit(2)).
    if node.facts.uid != 0 and threads is not None and threads < _MIN_PROCESSES:
        troubles.append(f"at most {threads} processes and threads")
        lines.append(f"{found.user} - nproc unlimited")
    if not troubles:
        return passed("the limits of a login are high enough", data=data)
    return warn(
        f"a login of {found.user} may have {' and '.join(troubles)}: many peers and data-loader workers "
        "need more",
        "raise the limit; it applies from the next login on, if sshd uses PAM (in a container: "
        "--ulimit nofile=524288)",
        (command_line(["printf", "%s\\n", *lines]) + " > /etc/security/limits.d/90-orch.conf",),
        data,
    )


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
    """The machine's memory in bytes; `group` is None for no limit, `hidden` if it cannot be read."""

    total: int
    available: int
    group: ControlGroup | None
    hidden: bool

    @classmethod
    def parse(cls, raw: Any) -> Memory:
        group = raw["group"]
        limit = reader(ControlGroup)(group) if isinstance(group, dict) else None
        return cls(int(raw["total"]), int(raw["available"]), limit, group == "hidden")


MEMORY = Probe("memory", Memory.parse)
_UNIT = re.compile(r"[A-Za-z0-9@_.:-]{1,256}\.(slice|scope|service)\Z")


@check("memory", Group.LIMITS, probes=(MEMORY,))
@each_node
def check_memory(node: NodeContext) -> Verdict:
    """There is enough memory for the ranks, and no control group limits it.

    MemAvailable of `/proc/meminfo`, and the tightest memory limit of the control groups (version 1 or 2)
    that the SSH session is in, less what is used there. Warns when a control group leaves less than half of
    what the machine has (the kernel kills ranks at that limit, with memory left), and when less than 1 GiB
    is left for each rank.
    """
    found, ranks = node.answer(MEMORY), node.plan.devices
    group = found.group
    left = found.available if group is None else min(found.available, group.left)
    data = {
        "total": found.total,
        "available": found.available,
        "group": group and vars(group),
    }
    if group is not None and group.left < found.available / 2:
        unit = group.path.rpartition("/")[2]
        raise_limit = command_line(["systemctl", "set-property", unit, "MemoryMax=infinity"])
        return warn(
            f"its control group {group.path} has {group.left / _GIB:.1f} GiB left, though the machine "
            f"has {found.available / _GIB:.1f} GiB: ranks are killed at that limit",
            "raise the limit (in a container: --memory)",
            (raise_limit,) if _UNIT.match(unit) else (),
            data,
        )
    if left < ranks * _GIB:
        return warn(
            f"has only {left / _GIB:.1f} GiB of memory left for {counted(ranks, 'rank')}; each needs "
            "about 1 GiB before any data",
            "see what uses it with `ps -eo rss,pid,user,args --sort -rss | head`, or give the node fewer "
            "devices",
            data=data,
        )
    unseen = ", as far as can be seen: control groups are hidden there" if found.hidden else ""
    return passed(f"has enough memory for its ranks{unseen}", data=data)


CHECKS: tuple[Check, ...] = (
    storage.check_disk,
    sharing.check_shared,
    sharing.check_user,
    check_shm,
    check_limits,
    check_memory,
    clock.check_clock,
)
