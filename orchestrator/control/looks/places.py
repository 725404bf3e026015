"""The file systems of the paths that a failed rank used: full, read-only, stale, or not answering."""

from __future__ import annotations

import errno
import posixpath
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.control.looks.model import Cause, Finding, Known, Look, Subject, unanswered
from orchestrator.preflight.answers import reader
from orchestrator.preflight.model import NoAnswer, Probe
from orchestrator.util.text import format_size

_SHM = "/dev/shm"
_ABOUT_SHM = ("memory.shm", "nccl.shm", "exit.bus")
_MAX_PATHS = 10
_MAX_WORDS = 200  # of a command
_FULL_BELOW = 1 << 20  # bytes free; a disk that is not full has more
_QUOTED = re.compile(r"['\"<](?P<path>[^'\"<>\n]{1,400})['\"> ]")
_SHOWN = re.compile(r"(?<![\w/'\"])(?P<path>/[\w.+@/-]{1,300})")
_FOLDERS = ("TMPDIR", "HF_HOME", "TORCH_HOME", "XDG_CACHE_HOME", "TRITON_CACHE_DIR", "WANDB_DIR")
_PLAIN = re.compile(r"/[\w ./+@:-]{0,200}")
_GONE = (errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENXIO)
_NETWORKED = re.compile(r"nfs|cifs|smb|lustre|ceph|gpfs|beegfs|fuse|9p|afs|glusterfs|orangefs|weka")


@dataclass(frozen=True)
class Problem:
    """Why nothing can be written, or read, at a path."""

    errno: int
    text: str


@dataclass(frozen=True)
class Place:
    """The file system of a path; None for what it does not tell. Sizes are in bytes."""

    path: str
    at: str
    mount: str
    kind: str
    source: str
    read_only: bool
    size: int | None
    free: int | None
    files: int | None
    free_files: int | None
    problem: Problem | None
    silent: bool

    @property
    def has_code(self) -> int:
        """The error number of its problem; 0 for none."""
        return self.problem.errno if self.problem else 0

    @property
    def lacks_files(self) -> bool:
        return bool(self.files) and self.free_files == 0

    @property
    def is_over_quota(self) -> bool:
        return self.has_code == errno.EDQUOT

    @property
    def is_full(self) -> bool:
        if self.read_only or self.size == 0:  # a file system without blocks, such as proc
            return False
        room = None if self.size is None else min(_FULL_BELOW, self.size // 50)
        lacks_space = self.free is not None and room is not None and self.free < room
        return lacks_space or self.lacks_files or self.has_code in (errno.ENOSPC, errno.EDQUOT)

    @property
    def is_gone(self) -> bool:
        return self.silent or self.has_code in _GONE

    @property
    def is_networked(self) -> bool:
        return _NETWORKED.search(self.kind) is not None

    @property
    def name(self) -> str:
        """The mount point, and what is mounted there if that is on another machine."""
        return f"{self.mount} ({self.kind}, {self.source})" if self.is_networked else self.mount

    @property
    def holds(self) -> str:
        """What is on it, to follow a cause: `; /data/model.pt is there`."""
        return "" if self.path == self.mount else f"; {self.path} is there"

    @property
    def state(self) -> str:
        """What was seen, in a few words."""
        if self.silent:
            return "no answer in 3 s"
        if self.is_over_quota:
            return "the quota is used up"
        if self.free is None or self.size is None:
            return self.problem.text if self.problem else "it does not tell how much is free"
        if self.lacks_files:
            return f"no inode free of {self.files:,}"
        state = f"{format_size(self.free)} free of {format_size(self.size)}"
        if self.read_only:
            return f"read-only, {state}"
        return state if not self.problem or self.is_full else f"{state}, {self.problem.text}"


PLACES: Probe[tuple[Place, ...]] = Probe("places", reader(tuple[Place, ...]))


def _asks(subject: Subject) -> Mapping[str, Mapping[str, Any]]:
    paths = list(dict.fromkeys([*_named(subject), *_used(subject)]))
    return {PLACES.name: {"paths": paths[:_MAX_PATHS], "full": True}}


def _named(subject: Subject) -> Iterator[str]:
    """Yield the paths that the output names."""
    if path := subject.hit.first.details.get("path"):
        yield posixpath.join(subject.node.cwd, path)
    for text in subject.texts[:2]:
        for pattern in (_QUOTED, _SHOWN):
            for found in pattern.finditer(text):
                if "/" in found["path"]:
                    yield posixpath.join(subject.node.cwd, found["path"])


def _used(subject: Subject) -> Iterator[str]:
    """Yield the paths that the rank is likely to have written to."""
    if subject.hit.signature.id in _ABOUT_SHM:
        yield _SHM
    yield subject.node.cwd
    environment = subject.node.environment
    yield from (environment[name] for name in _FOLDERS if name in environment)
    for process in subject.node.processes[:1]:
        for word in process.argv[:_MAX_WORDS]:
            value = word.rpartition("=")[2]
            if value.startswith("/") and len(value) < 400:  # such as a folder for checkpoints
                yield value
    yield from ("/tmp", _SHM, "~")


def judge(subject: Subject, known: Known) -> Finding:
    """Return what the file systems show about the failure."""
    answer = known.of(PLACES)
    if isinstance(answer, NoAnswer):
        return unanswered("disks", answer)
    places = _unlike(answer)
    telling = sorted(places, key=lambda place: not (place.is_full or place.is_gone))
    looked = tuple(f"{place.name}: {place.state}" for place in telling)
    named = set(_named(subject))
    likely = [place for place in places if place.path in named] or places
    name = subject.hit.signature.id
    return Finding(looked, _explain(name, places if name in _ABOUT_SHM else likely))


def _unlike(places: Sequence[Place]) -> list[Place]:
    """Return the first place of each file system."""
    found: dict[str, Place] = {}
    for place in places:
        found.setdefault(place.mount, place)
    return list(found.values())


def _explain(name: str, places: Sequence[Place]) -> Cause | None:
    """Return cause and fix, if a place explains a failure of this signature."""
    if name in _ABOUT_SHM:
        return _shared_memory(name, places)
    if name == "disk.read-only":
        barred = [place for place in places if place.read_only or place.has_code == errno.EROFS]
        return _read_only(barred[0]) if barred else None
    if name == "disk.failing":
        gone = [place for place in places if place.is_gone]
        return _gone(gone[0]) if gone else None
    full = [place for place in places if place.is_full]
    if full:
        return _full(full[0])
    if name == "disk.full":
        return Cause(
            "the kernel had no space or no inode for it, but no file system that orch looked at is full "
            "now: the space was freed when the rank ended, or a quota of a folder or a limit of inotify "
            "was reached",
            "run again and watch `df -h` and `df -i`; for inotify: sysctl fs.inotify.max_user_watches",
        )
    return None


def _word(path: str) -> str:
    """Return a path from a node as a word of a command; a placeholder for one with odd characters."""
    return shlex.quote(path) if _PLAIN.fullmatch(path) else "MOUNT"


def _full(place: Place) -> Cause:
    mount = _word(place.mount)
    if place.is_over_quota:
        return Cause(
            f"the quota of this user or project on {place.name} is used up{place.holds}",
            "free space (`quota -s` shows the quota), or write elsewhere",
        )
    if place.lacks_files:
        return Cause(
            f"{place.name} has no inodes left ({place.files:,} in all): too many small files{place.holds}",
            f"remove files: `du --inodes -xd2 {mount} | sort -n | tail` shows where they are",
        )
    size = "" if place.size is None else f" of {format_size(place.size)}"
    free = "" if place.free is None else f": {format_size(place.free)}{size} is free"
    if place.mount == _SHM:
        return Cause(f"shared memory, {_SHM}, is full{free}", _MORE_SHM)
    return Cause(
        f"{place.name} is full{free}{place.holds}",
        f"free space there (`du -xhd2 {mount} | sort -h | tail` shows what uses it), or write elsewhere",
    )


_MORE_SHM = "containers: --shm-size=16g or --ipc=host; hosts: mount -o remount,size=16g /dev/shm"


def _shared_memory(name: str, places: Sequence[Place]) -> Cause | None:
    shared = next((place for place in places if place.mount == _SHM), None)
    full = [place for place in places if place.is_full]
    if shared is not None and shared in full:
        return _full(shared)
    if full:  # a file in a file system without space may be mapped into memory, too
        return _full(full[0])
    if shared is None or shared.free is None or shared.size is None:
        return None
    left = f"{format_size(shared.free)} of {format_size(shared.size)} is free now that the rank has ended"
    if shared.size <= 64 << 20:
        return Cause(
            f"{_SHM} has {format_size(shared.size)} only, the default of containers ({left})",
            _MORE_SHM,
        )
    if name == "exit.bus":
        return Cause(
            f"it accessed memory without storage behind it: a mapped file that was cut short, or shared "
            f"memory that was full ({_SHM}: {left})",
            "look for files that another process cuts short while ranks map them, such as a data set or a "
            "cache; `dmesg` shows failed disks",
        )
    return None


def _read_only(place: Place) -> Cause:
    mount = _word(place.mount)
    return Cause(
        f"{place.name} is mounted read-only{place.holds}",
        f"write elsewhere; `dmesg | grep -i remount` shows whether a disk error made it so, and `mount -o "
        f"remount,rw {mount}` (as root) undoes it on a sound disk",
    )


def _gone(place: Place) -> Cause:
    why = (
        "does not answer"
        if place.silent
        else f"fails: {place.problem.text if place.problem else ''}"
    )
    if not place.is_networked:
        return Cause(
            f"{place.name} ({place.kind}) {why}",
            "`dmesg -T | grep -iE 'i/o error|ext4|xfs|nvme'` shows disk errors; exclude the node",
        )
    mount = _word(place.mount)
    return Cause(
        f"the file server of {place.name} {why}{place.holds}",
        f"check the server; then, as root: umount -fl {mount} && mount {mount}",
    )


PLACES_LOOK = Look("places", (PLACES,), _asks, judge)
