"""What file systems show about a failure."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from orchestrator.control.looks.registry import questions

from .subjects import found, place, subject_of

ENOSPC = "OSError: [Errno 28] No space left on device: '/data/out/model.pt'\n"
TRACE = 'Traceback (most recent call last):\n  File "t.py", line 3, in <module>\n'
SHM = {"mount": "/dev/shm", "kind": "tmpfs", "source": "shm"}


def test_paths_of_the_message_the_job_and_shared_memory_are_asked_for() -> None:
    asked = questions(subject_of(TRACE + ENOSPC))
    paths = asked["places"]["paths"]
    assert paths[0] == "/data/out/model.pt"
    assert {"/tmp", "/dev/shm", "~"} < set(paths)
    assert list(asked) == ["places"]


def test_clean_exception_asks_nothing() -> None:
    assert questions(subject_of(TRACE + "ValueError: no such batch\n")) == {}


def test_full_disk_is_the_cause_with_mount_and_number() -> None:
    full = place("/data/out/model.pt", mount="/data", free=0, size=8_000_000)
    seen = found(subject_of(ENOSPC), places=[place("/job"), full])
    assert seen.cause is not None
    assert seen.cause.text == "/data is full: 0 B of 8.0 MB is free; /data/out/model.pt is there"
    assert "du -xhd2 /data |" in seen.cause.fix
    assert seen.looked == (
        "/data: 0 B free of 8.0 MB",
        "/: 400.0 GB free of 1000.0 GB",
    )


def test_disk_without_inodes_is_the_cause() -> None:
    seen = found(subject_of(ENOSPC), places=[place("/data", mount="/data", free_files=0)])
    assert seen.cause is not None
    assert seen.cause.text == "/data has no inodes left (10,000,000 in all): too many small files"


def test_quota_is_the_cause_although_the_disk_has_space() -> None:
    problem = {"errno": errno.EDQUOT, "text": "Disk quota exceeded"}
    seen = found(subject_of(ENOSPC), places=[place("/data", mount="/data", problem=problem)])
    assert seen.cause is not None
    assert seen.cause.text == "the quota of this user or project on /data is used up"


def test_disk_that_the_message_does_not_name_is_found_if_it_is_full() -> None:
    subject = subject_of("OSError: [Errno 28] No space left on device\n")
    assert questions(subject)["places"]["full"] is True
    seen = found(subject, places=[place("/job"), place("/scratch", mount="/scratch", free=0)])
    assert seen.cause is not None
    assert seen.cause.text.startswith("/scratch is full")


@pytest.mark.parametrize("others", [[], [place("/tmp", mount="/tmp", free=0)]])
def test_disk_of_the_message_that_is_not_full_any_more_is_said_to_be_so(
    others: list[dict[str, Any]],
) -> None:
    named = place("/data/out/model.pt", mount="/data")
    seen = found(subject_of(ENOSPC), places=[named, *others])
    assert seen.cause is not None
    assert "no file system that orch looked at is full now" in seen.cause.text


def test_read_only_mount_is_named() -> None:
    text = "OSError: [Errno 30] Read-only file system: '/data/x'\n"
    seen = found(subject_of(TRACE + text), places=[place("/data/x", mount="/data", read_only=True)])
    assert seen.cause is not None
    assert seen.cause.text == "/data is mounted read-only; /data/x is there"
    assert "remount,rw /data`" in seen.cause.fix


def test_stale_and_silent_servers_are_named() -> None:
    subject = subject_of(TRACE + "OSError: [Errno 116] Stale file handle\n")
    nfs = {"mount": "/share", "kind": "nfs4", "source": "server:/x", "size": None, "free": None}
    stale = place("/share/a", problem={"errno": 116, "text": "Stale file handle"}, **nfs)
    seen = found(subject, places=[stale])
    assert seen.cause is not None
    assert "/share (nfs4, server:/x) fails: Stale file handle; /share/a is there" in seen.cause.text
    assert "umount -fl /share && mount /share" in seen.cause.fix
    silent = found(subject, places=[place("/share/a", silent=True, **nfs)])
    assert silent.cause is not None
    assert "does not answer" in silent.cause.text
    assert "no answer in 3 s" in silent.looked[0]


@pytest.mark.parametrize(
    ("shm", "said"),
    [
        ({"size": 8_000_000, "free": 0}, "shared memory, /dev/shm, is full: 0 B of 8.0 MB is free"),
        (
            {"size": 64 << 20, "free": 60 << 20},
            "/dev/shm has 67.1 MB only, the default of containers",
        ),
        ({"size": 16 << 30, "free": 15 << 30}, "a mapped file that was cut short"),
    ],
)
def test_bus_error_depends_on_shared_memory(shm: dict[str, int], said: str) -> None:
    seen = found(subject_of("", -7), places=[place("/job"), place("/dev/shm", **SHM, **shm)])
    assert seen.cause is not None
    assert said in seen.cause.text


def test_bus_error_with_a_full_disk_names_the_disk() -> None:
    full = place("/job", mount="/job", free=0)
    seen = found(
        subject_of("", -7), places=[full, place("/dev/shm", **SHM, size=16 << 30, free=15 << 30)]
    )
    assert seen.cause is not None
    assert seen.cause.text.startswith("/job is full")


def test_node_that_does_not_answer_leaves_the_cause_alone() -> None:
    seen = found(subject_of(ENOSPC))
    assert seen.cause is None
    assert seen.looked[0].startswith("disks: could not be looked at")
