"""The limits of a failed rank: open files, processes, locked memory, address space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.control.looks.model import Cause, Finding, Known, Look, Subject, unanswered
from orchestrator.preflight.answers import reader
from orchestrator.preflight.model import NoAnswer, Probe
from orchestrator.util.text import counted, format_size

_MANY_FILES = 65536
_NEARLY = 0.9  # of a limit: others may have ended since


@dataclass(frozen=True)
class PidsGroup:
    """The control group that limits processes most, and how many it has."""

    path: str
    limit: int
    used: int


@dataclass(frozen=True)
class RankLimits:
    """The (soft, hard) limits of a rank by name, None for no limit.

    `tasks` is how many threads its `user` has on the node, `refused` how often a control group refused to
    start one while the rank ran, `open_files` how many the machine has open and may have.
    """

    limits: Mapping[str, tuple[int | None, int | None]]
    user: str
    tasks: int
    group: PidsGroup | None
    refused: int | None
    open_files: tuple[int, int] | None


LIMITS: Probe[RankLimits] = Probe("setting.limits", reader(RankLimits))

# What each signature is about: the limit, its name in /etc/security/limits.conf, its option of `ulimit`.
_FILES = ("open_files", "nofile", "-n")
_PROCESSES = ("processes", "nproc", "-u")
_LOCKED = ("locked_memory", "memlock", "-l")
_ADDRESSES = ("address_space", "as", "-v")
_SIZE = ("file_size", "fsize", "-f")
_ABOUT = {
    "limits.files": _FILES,
    "limits.threads": _PROCESSES,
    "nccl.memlock": _LOCKED,
    "memory.allocation": _ADDRESSES,
    "disk.file-limit": _SIZE,
}


def judge(subject: Subject, known: Known) -> Finding:
    """Return whether a limit explains the failure."""
    found = known.of(LIMITS)
    if isinstance(found, NoAnswer):
        return unanswered("limits of the rank", found)
    about = _ABOUT.get(subject.hit.signature.id, _FILES)
    name, entry, option = about
    soft, hard = found.limits.get(name, (None, None))
    if name not in found.limits:
        return Finding((f"limits of the rank: not recorded (ulimit {option})",))
    looked = [f"ulimit {option} of the rank: {_shown(name, soft)} (hard {_shown(name, hard)})"]
    if about is _FILES:
        looked += [] if found.open_files is None else [_machine(*found.open_files)]
        return Finding(tuple(looked), _files(found, soft, hard))
    if about is _PROCESSES:
        looked.append(f"{counted(found.tasks, 'thread')} of user {found.user} on the node")
        if found.group is not None:
            group = found.group
            looked.append(
                f"control group {group.path}: {group.used:,} of {group.limit:,} processes"
            )
        if found.refused is not None:
            looked.append(f"pids.events: {counted(found.refused, 'refusal')} since the rank began")
        return Finding(tuple(looked), _processes(found, soft))
    if soft is None:
        return Finding(tuple(looked))
    cause = Cause(
        f"its limit (`ulimit {option}`) was {_shown(name, soft)} when it started",
        f"set `* - {entry} unlimited` in /etc/security/limits.conf on the node and log in again; in a "
        f"container: --ulimit {entry}=-1",
    )
    return Finding(tuple(looked), cause)


def _shown(name: str, value: int | None) -> str:
    if value is None:
        return "unlimited"
    return f"{value:,}" if name in ("open_files", "processes") else format_size(value)


def _machine(used: int, most: int) -> str:
    return f"/proc/sys/fs/file-nr: {used:,} of {most:,} files open on the machine"


def _files(found: RankLimits, soft: int | None, hard: int | None) -> Cause | None:
    if found.open_files is not None and found.open_files[0] > _NEARLY * found.open_files[1]:
        used, most = found.open_files
        return Cause(
            f"the machine has {used:,} files open, of {most:,} that it may have",
            "raise fs.file-max (`sysctl fs.file-max`), or find what leaves files open: `lsof -n | awk "
            "'{print $1, $2}' | sort | uniq -c | sort -n | tail`",
        )
    if soft is None:
        return None
    if soft >= _MANY_FILES:
        return Cause(
            f"it may open {soft:,} files, which is a lot: it probably does not close what it opens",
            "run with -W always::ResourceWarning; close files and sockets, or use fewer workers",
        )
    own = hard is None or hard > soft
    limit = min(hard or _MANY_FILES, _MANY_FILES)
    raised = (
        f"in the script: resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {hard or limit})); or "
        if own
        else ""
    )
    return Cause(
        f"it may open {soft:,} files (`ulimit -n`); each worker of a data loader needs many",
        f"{raised}set `* - nofile {_MANY_FILES}` in /etc/security/limits.conf there, and log in again",
    )


def _processes(found: RankLimits, soft: int | None) -> Cause | None:
    fewer = "or use fewer workers and set OMP_NUM_THREADS"
    if found.refused and found.group is not None:
        return Cause(
            f"its control group {found.group.path} may have {found.group.limit:,} processes and threads, "
            f"and refused to start one {counted(found.refused, 'time')}",
            f"raise the limit (systemd: TasksMax; docker: --pids-limit; Kubernetes: podPidsLimit), {fewer}",
        )
    if soft is not None and found.tasks > _NEARLY * soft:
        return Cause(
            f"user {found.user} may have {soft:,} processes and threads here (`ulimit -u`), and has "
            f"{found.tasks:,}",
            f"set `* - nproc unlimited` in /etc/security/limits.conf and log in again, {fewer}",
        )
    return None


LIMITS_LOOK = Look("limits", (LIMITS,), lambda subject: {LIMITS.name: subject.record}, judge)
