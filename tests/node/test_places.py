"""The file systems of paths, as seen after a failure."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.node.probes import mounts, places

SHARE = mounts.Mount("/share", "nfs4", "server:/export", False)


def test_place_of_a_missing_file_is_the_nearest_folder(tmp_path: Path) -> None:
    (found,) = places.places([str(tmp_path / "not/there.pt")])
    assert (found["path"], found["at"]) == (str(tmp_path / "not/there.pt"), str(tmp_path))
    assert found["size"] >= found["free"] > 0
    assert (found["problem"], found["silent"]) == (None, False)


def test_relative_and_repeated_paths_are_left_out(tmp_path: Path) -> None:
    found = places.places(["out", str(tmp_path), str(tmp_path), ""])
    assert [place["path"] for place in found] == [str(tmp_path)]


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (found,) = places.places(["~"])
    assert (found["path"], found["at"]) == (str(tmp_path), str(tmp_path))


def test_file_system_that_does_not_answer_is_silent_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends, real = threading.Event(), os.stat

    def stat(path: str, **more: Any) -> os.stat_result:
        if path.startswith("/share"):
            ends.wait()
        return real(path, **more)

    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(places, "mounts", lambda: [SHARE])
    try:
        gone, there = places.places(["/share/job/model.pt", str(tmp_path)], seconds=0.2)
    finally:
        ends.set()
    assert (gone["silent"], gone["kind"], gone["source"]) == (True, "nfs4", "server:/export")
    assert gone["free"] is None
    assert not there["silent"]


def test_stale_handle_is_the_problem_of_its_mount(monkeypatch: pytest.MonkeyPatch) -> None:
    def stat(path: str) -> os.stat_result:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(places, "mounts", lambda: [SHARE])
    (found,) = places.places(["/share/job"])
    assert found["problem"] == {"errno": errno.ESTALE, "text": "Stale file handle"}
    assert (found["mount"], found["free"]) == ("/share", None)


def test_full_file_system_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = SimpleNamespace(f_blocks=10, f_frsize=4096, f_bavail=0, f_files=9, f_favail=0)
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    (found,) = places.places([str(tmp_path)])
    assert (found["size"], found["free"], found["files"], found["free_files"]) == (40960, 0, 9, 0)


def test_other_mounts_are_listed_only_if_they_are_full_and_can_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("job", "full", "free", "locked", "pseudo", "ro")
    for name in names:
        (tmp_path / name).mkdir()
    kinds = {"pseudo": "cgroup"}
    table = [
        mounts.Mount(str(tmp_path / name), kinds.get(name, "tmpfs"), "none", name == "ro")
        for name in names
    ]
    sizes = {"free": 10, "job": 10}

    def statvfs(path: str) -> SimpleNamespace:
        left = sizes.get(Path(path).name, 0)
        return SimpleNamespace(f_blocks=10, f_frsize=4096, f_bavail=left, f_files=0, f_favail=0)

    monkeypatch.setattr(places, "mounts", lambda: table)
    monkeypatch.setattr(os, "statvfs", statvfs)
    monkeypatch.setattr(os, "access", lambda path, mode: not path.endswith("locked"))
    found = places.places([str(tmp_path / "job")], full=True)
    assert [Path(place["path"]).name for place in found] == ["job", "full"]
    assert len(places.places([str(tmp_path / "job")])) == 1


def test_mount_on_top_is_that_of_a_path() -> None:
    table = [
        mounts.Mount("/", "ext4", "/dev/sda", False),
        mounts.Mount("/share", "ext4", "/dev/sdb", False),
        SHARE,
    ]
    assert mounts.mount_of("/share/job", table) == SHARE
    assert mounts.mount_of("/shared", table) == table[0]
    assert mounts.mount_of("/share", []) is None


def test_mounts_have_type_source_and_whether_they_are_read_only(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(
        "22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p1 rw,errors=remount-ro\n"
        "23 22 0:5 / /data ro - xfs /dev/sdb rw\n"
        "25 22 0:7 / /my\\040data rw - nfs4 server:/a\\040b ro\n"
        "garbage\n"
    )
    remount, rw, ro = (frozenset(each) for each in (("rw", "errors=remount-ro"), ("rw",), ("ro",)))
    assert mounts.mounts(str(tmp_path)) == [
        mounts.Mount("/", "ext4", "/dev/nvme0n1p1", False, "/", "259:1", remount),
        mounts.Mount("/data", "xfs", "/dev/sdb", True, "/", "0:5", rw),
        mounts.Mount("/my data", "nfs4", "server:/a b", True, "/", "0:7", ro),
    ]
