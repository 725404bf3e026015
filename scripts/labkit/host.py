"""Process 1 of a host of a lab: create its mounts, keep its sshd, reap orphans.

Started as `python -m labkit.host LAB DIRECTORY NODE`, by which the hosts of a lab are found later. It moves
to new namespaces and, when everything is mounted, prints the id of process 1 of the host in this machine's
PID namespace. When process 1 ends, the kernel ends all processes of the host.

SIGHUP restarts sshd. An sshd that dies is not restarted, and the host keeps running.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import NamedTuple

from labkit import kernel

SSHD = "/usr/sbin/sshd"
NAMESPACES = kernel.NEW_MOUNT | kernel.NEW_UTS | kernel.NEW_IPC | kernel.NEW_PID | kernel.NEW_NET


class Spec(NamedTuple):
    """How a host differs from this machine."""

    hostname: str
    binds: list[list[str]]  # [source, target], in this order; the targets exist
    overlays: list[list[str]]  # [upper, target]: the content of `upper` hides that of `target`
    private: list[str]  # everything else is read-only; empty: everything is writable as here
    sshd: bool


def main(directory: Path) -> None:
    """Become the host that `directory`/host.json describes; returns only in the parent."""
    spec = Spec(**json.loads((directory / "host.json").read_text()))
    sshd_log = None
    if spec.sshd:
        sshd_log = os.open(directory / "sshd.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    kernel.unshare(NAMESPACES)
    ready, tell = os.pipe()
    if child := os.fork():
        os.close(tell)
        if os.read(ready, 1):
            print(child)
        return
    os.setsid()
    os.chdir("/")
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    os.close(ready)
    socket.sethostname(spec.hostname)
    make_mounts(spec)
    os.write(tell, b"\n")
    os.close(tell)
    supervise(sshd_log)


def make_mounts(spec: Spec) -> None:
    """Mount the host's own files, /proc, /sys, terminals and shared memory."""
    kernel.mount("none", "/", flags=kernel.PRIVATE | kernel.RECURSIVE)
    for upper, target in spec.overlays:
        kernel.mount("overlay", target, kind="overlay", options=f"lowerdir={upper}:{target}")
    for source, target in spec.binds:
        kernel.mount(source, target, flags=kernel.BIND | kernel.RECURSIVE)
    if spec.private:
        kernel.set_read_only("/", recursive=True)
        for target in spec.private:
            kernel.set_writable(target)
        kernel.mount("shm", "/dev/shm", kind="tmpfs", options="mode=1777")
        terminals = "newinstance,gid=5,mode=620,ptmxmode=666"
        kernel.mount("devpts", "/dev/pts", kind="devpts", options=terminals)
    kernel.mount("proc", "/proc", kind="proc", flags=kernel.NO_SUID_DEV_EXEC)
    # A new sysfs has the interfaces of this network namespace, not those of the machine.
    kernel.mount("sysfs", "/sys", kind="sysfs", flags=kernel.NO_SUID_DEV_EXEC)


def supervise(sshd_log: int | None) -> None:
    """Keep sshd (its log is an open file; None: no sshd), and reap, until killed."""
    signals = {signal.SIGCHLD, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    sshd = start_sshd(sshd_log) if sshd_log is not None else None
    while True:
        arrived = signal.sigwait(signals)
        ended = reap()
        if sshd in ended:
            sshd = None
        if arrived == signal.SIGHUP and sshd_log is not None:
            if sshd is not None:
                os.kill(sshd, signal.SIGTERM)
                os.waitpid(sshd, 0)
            sshd = start_sshd(sshd_log)


def start_sshd(log: int) -> int:
    """Start sshd in the foreground; return its process id."""
    return os.posix_spawn(
        SSHD,
        [SSHD, "-D", "-e"],
        {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
        file_actions=[(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)],
        setsigmask=(),
    )


def reap() -> set[int]:
    """Reap all children that have ended; return their process ids."""
    ended: set[int] = set()
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.add(pid)


if __name__ == "__main__":
    main(Path(sys.argv[2]) / "hosts" / sys.argv[3])
