"""Limits of this machine's kernel that the namespaces of a large lab share: raised while it is up."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from labkit.errors import LabError

LARGE = 64
"""A lab with more hosts raises limits."""

_PROC = Path("/proc/sys")
_FILE = "kernel-limits.json"
_MIB_PER_HOST = 24  # process 1, sshd, and an idle login with orch's agent
_PROCESSES_PER_HOST = 16


def require_room(hosts: int, proc: Path = Path("/proc")) -> None:
    """Raise LabError if this machine has too little memory, or too few process ids, for a large lab."""
    if hosts <= LARGE:
        return
    memory = dict(line.split(":", 1) for line in (proc / "meminfo").read_text().splitlines())
    free = int(memory["MemAvailable"].split()[0]) >> 10
    if free < hosts * _MIB_PER_HOST:
        raise LabError(f"{hosts} hosts take {hosts * _MIB_PER_HOST} MiB: {free} MiB are available")
    running = sum(entry.name.isdigit() for entry in proc.iterdir())
    left = int((proc / "sys/kernel/pid_max").read_text()) - running
    if left < hosts * _PROCESSES_PER_HOST:
        raise LabError(
            f"{hosts} hosts take {hosts * _PROCESSES_PER_HOST} process ids: {left} are left: "
            "sysctl -w kernel.pid_max=4194304"
        )


def raise_limits(hosts: int, directory: Path, root: Path = _PROC) -> None:
    """Raise what a lab of this many hosts needs; `directory` keeps what it was, for `restore`."""
    if hosts <= LARGE:
        return
    raised: dict[str, list[int]] = {}
    for name, wanted in _wanted(hosts).items():
        path = root / name
        if path.exists() and (now := int(path.read_text())) < wanted:
            raised[name] = [now, wanted]
    (directory / _FILE).write_text(json.dumps(raised))
    for name, (_, wanted) in raised.items():
        (root / name).write_text(str(wanted))
    if raised:
        changes = ", ".join(
            f"{name.replace('/', '.')} {was} -> {now}" for name, (was, now) in raised.items()
        )
        print(f"lab: raised until the lab is down: {changes}", file=sys.stderr)


def restore(directory: Path, root: Path = _PROC) -> None:
    """Undo `raise_limits`, except what has been changed since."""
    file = directory / _FILE
    if not file.exists():
        return
    raised: Mapping[str, list[int]] = json.loads(file.read_text())
    for name, (was, now) in raised.items():
        if int((root / name).read_text()) == now:
            (root / name).write_text(str(was))
    file.unlink()


def _wanted(hosts: int) -> dict[str, int]:
    """Return the limits; every host takes a few neighbours of each, and each login inotify instances."""
    room = 1 << (16 * hosts).bit_length()
    tables = {
        f"net/{family}/neigh/default/gc_thresh{level}": room >> (3 - level)
        for family in ("ipv4", "ipv6")
        for level in (1, 2, 3)
    }
    return {**tables, "fs/inotify/max_user_instances": 16 * hosts}
