"""Small files, links and folders of /proc, /sys and /etc, any of which may be missing or unreadable."""

from __future__ import annotations

import os
import pwd
from typing import Dict, List, NamedTuple, Optional

_MAX_BYTES = 1 << 20  # no file that a probe reads is longer
_MAX_COMMAND = 200  # characters
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

GONE = (FileNotFoundError, ProcessLookupError, PermissionError)
"""Errors of a process that has ended, or is another user's. Any other (EMFILE, say) must not hide one."""


def text(root: str, path: str) -> Optional[str]:
    """Return the text of the file at `path` below `root`, stripped; None if it is unreadable."""
    try:
        with open(below(root, path), "rb") as file:
            return file.read(_MAX_BYTES).decode("utf-8", "replace").strip()
    except OSError:
        return None


def required(root: str, path: str) -> str:
    """Return the text of the file at `path` below `root`. Raises ValueError if it is unreadable."""
    found = text(root, path)
    if found is None:
        raise ValueError("{} cannot be read".format(path))
    return found


def lines(root: str, path: str) -> List[str]:
    """Return the lines of the file at `path` below `root`; none if it is unreadable."""
    return (text(root, path) or "").split("\n")


def counts(root: str, path: str) -> Dict[str, int]:
    """Return {name: number} of the lines `NAME NUMBER ...` of a file; a colon after a name is dropped."""
    rows = [line.split() for line in lines(root, path)]
    return {row[0].rstrip(":"): int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}


def names(root: str, path: str) -> List[str]:
    """Return the sorted names in the folder at `path` below `root`; none if it is unreadable."""
    try:
        return sorted(os.listdir(below(root, path)))
    except OSError:
        return []


def link(root: str, path: str) -> Optional[str]:
    """Return the target of the link at `path` below `root`, as it is written; None if unreadable."""
    try:
        return os.readlink(below(root, path))
    except OSError:
        return None


def driver(root: str, device: str) -> Optional[str]:
    """Return the name of the driver of a device's folder in /sys; None without one."""
    target = link(root, device + "/driver")
    return None if target is None else os.path.basename(target)


def pci(root: str, vendor: str) -> Dict[str, str]:
    """Return {address: folder in /sys} of the PCI devices of a vendor, such as "0x10de"."""
    folders = {name: "/sys/bus/pci/devices/" + name for name in names(root, "/sys/bus/pci/devices")}
    return {name: path for name, path in folders.items() if text(root, path + "/vendor") == vendor}


class Stat(NamedTuple):
    """/proc/PID/stat of a process or thread: `cpu` is its CPU time, `start` in clock ticks since boot."""

    pid: int
    parent: int
    session: int
    name: str
    state: str
    cpu: float
    start: int

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended; a zombie has."""
        return self.state not in "ZX"


def pids(root: str) -> List[int]:
    """Return the processes that have a folder in /proc; none if that is unreadable."""
    return [int(name) for name in names(root, "/proc") if name.isdigit()]


def stat(root: str, pid: int, thread: Optional[int] = None) -> Optional[Stat]:
    """Return the stat of a process, or of a `thread` of it; None if it is GONE. Raises other OSErrors."""
    path = "/proc/{:d}/stat" if thread is None else "/proc/{:d}/task/{:d}/stat"
    try:
        with open(below(root, path.format(pid, thread)), "rb") as file:
            # The second field is the name in parentheses and may hold anything, parentheses and blanks too.
            name, _, rest = file.read().partition(b"(")[2].rpartition(b")")
        fields = rest.split()
        return Stat(
            pid=pid,
            parent=int(fields[1]),
            session=int(fields[3]),
            name=name.decode("utf-8", "replace"),
            state=fields[0].decode("ascii"),
            cpu=(int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND,
            start=int(fields[19]),
        )
    except (*GONE, IndexError):
        return None


def age(root: str, start: int) -> float:
    """Return the seconds since `start`, which is in clock ticks since boot (proc(5))."""
    uptime = float((text(root, "/proc/uptime") or "0").split()[0])
    return max(0.0, uptime - start / _TICKS_PER_SECOND)


def open_files(root: str, pid: int) -> List[str]:
    """Return what the descriptors of a process lead to; nothing if it is GONE. Raises other OSErrors."""
    folder = below(root, "/proc/{:d}/fd".format(pid))
    try:
        targets = [link(folder, name) for name in os.listdir(folder)]
    except GONE:
        return []
    return [target for target in targets if target is not None]


def owner(root: str, pid: int) -> Optional[str]:
    """Return the user of a process; None if there is no such process (any more)."""
    try:
        return user(os.stat(below(root, "/proc/{:d}".format(pid))).st_uid)
    except OSError:
        return None


def command(root: str, pid: int) -> str:
    """Return the command line of a process, else its name, else `?`: at most 200 printable characters."""
    place = "/proc/{:d}/".format(pid)
    words = (text(root, place + "cmdline") or "").replace("\0", " ").strip()
    name = words or text(root, place + "comm") or "?"
    return "".join(c if c.isprintable() else "?" for c in name[:_MAX_COMMAND])


def environment(root: str, pid: int) -> Dict[str, str]:
    """Return the variables of a process; none if they may not be read."""
    entries = (text(root, "/proc/{:d}/environ".format(pid)) or "").split("\0")
    return {name: value for name, _, value in (entry.partition("=") for entry in entries)}


def run(root: str, pid: int) -> Optional[str]:
    """Return orch's name of the run that a process belongs to; None if its environment names none."""
    return environment(root, pid).get("ORCH_RUN")


def user(uid: int) -> str:
    """Return the name that the user database has for `uid`, else the number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def below(root: str, path: str) -> str:
    """Return the absolute `path` as it is called below `root`."""
    return os.path.join(root, path.lstrip("/"))
