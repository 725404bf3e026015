"""Which folders and files only this user can have written: real owners, modes, links, any umask."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.node.trust import Untrusted, open_file, own_folder

OTHER = 1234
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another owner")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(home))
    return home


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def own(top: Path, below: str = "runs", **more: bool) -> str:
    return own_folder(str(top / below), str(top), **more)


@pytest.mark.parametrize("mask", [0o000, 0o002, 0o022, 0o077])
def test_missing_folders_are_made_private(home: Path, mask: int) -> None:
    top = home / ".local/state/orch"
    with umask(mask):
        assert own(top, "runs/r/n") == str(top / "runs/r/n")
    made = [home / ".local", home / ".local/state", top, top / "runs", top / "runs/r/n"]
    assert {mode(path) for path in made} == {0o700}


def test_missing_folder_without_create_is_not_made(home: Path) -> None:
    with pytest.raises(FileNotFoundError):
        own(home / "orch", create=False)
    assert list(home.iterdir()) == []


def test_own_folder_writable_by_others_is_closed(home: Path) -> None:
    top = home / "orch"
    (top / "runs").mkdir(parents=True)
    for path in (top, top / "runs"):
        path.chmod(0o777)
    own(top, create=False)
    assert (mode(top), mode(top / "runs")) == (0o755, 0o755)


def test_strict_folder_writable_by_others_is_refused_and_unchanged(home: Path) -> None:
    top = home / "orch"
    (top / "runs").mkdir(parents=True)
    (top / "runs").chmod(0o757)
    with pytest.raises(Untrusted) as caught:
        own(top, strict=True)
    assert caught.value.why == "can be written by everybody"
    assert mode(top / "runs") == 0o757
    subprocess.run(["sh", "-c", caught.value.remedy], check=True)
    own(top, strict=True)


def test_parent_writable_by_everyone_is_refused_and_the_remedy_works(home: Path) -> None:
    parent = home / "it's here"
    parent.mkdir()
    parent.chmod(0o777)
    with pytest.raises(Untrusted) as caught:
        own(parent / "orch")
    assert (caught.value.path, caught.value.filename) == (str(parent), str(parent))
    assert caught.value.remedy == f"chmod go-w {shlex.quote(str(parent))}"
    assert not (parent / "orch").exists()
    subprocess.run(["sh", "-c", caught.value.remedy], check=True)
    own(parent / "orch")


def test_sticky_parent_is_trusted(home: Path) -> None:
    parent = home / "tmp"
    parent.mkdir()
    parent.chmod(0o1777)
    own(parent / "orch")


def test_home_writable_by_everyone_is_refused(home: Path) -> None:
    home.chmod(0o777)
    with pytest.raises(Untrusted, match="can be written by everybody"):
        own(home / "orch")


def test_folders_above_the_home_are_not_checked(home: Path) -> None:
    home.parent.chmod(0o777)
    own(home / "orch")  # a user that can replace the home has all of it anyway


@as_root
def test_group_of_the_user_alone_counts_as_the_user(home: Path) -> None:
    user = pwd.getpwuid(os.geteuid())
    assert grp.getgrgid(user.pw_gid).gr_name == user.pw_name
    os.chown(home, -1, user.pw_gid)
    home.chmod(0o770)
    own(home / "orch")


@as_root
def test_group_of_others_that_can_write_is_named(home: Path) -> None:
    os.chown(home, -1, OTHER)
    home.chmod(0o770)
    with pytest.raises(Untrusted, match=f"can be written by the group {OTHER}"):
        own(home / "orch")


@as_root
def test_group_with_another_member_is_not_the_users_own(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = pwd.getpwuid(os.geteuid())
    shared = grp.struct_group((user.pw_name, "x", user.pw_gid, [user.pw_name, "mallory"]))
    monkeypatch.setattr(grp, "getgrgid", lambda _: shared)
    os.chown(home, -1, user.pw_gid)
    home.chmod(0o770)
    with pytest.raises(Untrusted):
        own(home / "orch")


@as_root
def test_folder_with_an_access_list_is_not_the_users_own(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getxattr", lambda *_: b"a list")
    os.chown(home, -1, os.getegid())
    home.chmod(0o770)
    with pytest.raises(Untrusted):
        own(home / "orch")


@as_root
@pytest.mark.parametrize("below", ["", "runs", "runs/r"])
def test_folder_of_another_owner_is_refused_and_the_remedy_works(home: Path, below: str) -> None:
    top = home / "orch"
    own(top, "runs/r")
    os.chown(top / below, OTHER, OTHER)
    with pytest.raises(Untrusted) as caught:
        own(top, "runs/r")
    assert caught.value.path == str(top / below)
    assert f"belongs to uid {OTHER}, and you are root (uid 0)" in caught.value.why
    move, make = caught.value.remedy.split("; else: ")
    assert move.endswith(f"mv {top / below} {top / below}.other")
    subprocess.run(["sh", "-c", make], check=True)
    own(top, "runs/r")


@as_root
def test_home_of_another_owner_is_refused_with_the_users_own(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(home, OTHER, OTHER)
    with pytest.raises(Untrusted) as caught:
        own(home / "orch")
    assert "export HOME=/root" in caught.value.remedy


@as_root
def test_unmapped_owner_is_reported_as_such(home: Path) -> None:
    own(home / "orch")
    os.chown(home / "orch", 65534, 65534)
    with pytest.raises(Untrusted, match="does not show its owner here"):
        own(home / "orch")


@as_root
def test_folder_of_root_is_trusted_but_not_closed_by_others(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own(home / "orch")
    (home / "orch").chmod(0o777)
    monkeypatch.setattr(os, "geteuid", lambda: OTHER)
    with pytest.raises(Untrusted) as caught:
        own(home / "orch")
    assert caught.value.remedy == f"ask root (uid 0) for: chmod go-w {home / 'orch'}"
    (home / "orch").chmod(0o755)
    own(home / "orch")


# -- symbolic links -----------------------------------------------------------------------------


def test_own_link_is_followed_and_its_target_checked(home: Path) -> None:
    disk = home / "disk"
    (disk / "orch").mkdir(parents=True)
    (home / "orch").symlink_to("disk/../disk/orch")
    assert own(home / "orch") == str(disk / "orch/runs")
    (disk / "orch").chmod(0o777)
    own(home / "orch")
    assert mode(disk / "orch") == 0o755
    disk.chmod(0o777)
    with pytest.raises(Untrusted, match="everybody"):
        own(home / "orch")


@as_root
def test_link_of_another_owner_is_refused(home: Path) -> None:
    (home / "mine").mkdir()
    (home / "orch").symlink_to(home / "mine")
    os.lchown(home / "orch", OTHER, OTHER)
    with pytest.raises(Untrusted, match=f"belongs to uid {OTHER}"):
        own(home / "orch")
    assert list((home / "mine").iterdir()) == []


def test_circular_links_are_an_error(home: Path) -> None:
    (home / "orch").symlink_to(home / "orch")
    with pytest.raises(OSError, match="symbolic links"):
        own(home / "orch")


def test_file_where_a_folder_should_be_is_an_error(home: Path) -> None:
    (home / "orch").write_text("")
    with pytest.raises(NotADirectoryError):
        own(home / "orch")


# -- files --------------------------------------------------------------------------------------


def test_open_file_of_anything_but_a_file_raises_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(OSError, match="not a regular file"):
            open_file(str(tmp_path / name))
    with pytest.raises(OSError, match="symbolic link"):
        open_file(str(tmp_path / "link"), os.O_WRONLY | os.O_CREAT)
    assert not (tmp_path / "file").exists()


def test_open_file_creates_a_private_file(tmp_path: Path) -> None:
    with umask(0):
        os.close(open_file(str(tmp_path / "file"), os.O_WRONLY | os.O_CREAT))
    assert mode(tmp_path / "file") == 0o600


@as_root
def test_own_file_of_another_owner_or_writable_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    file.chmod(0o620)
    os.chown(file, -1, OTHER)
    with pytest.raises(Untrusted, match=f"can be written by the group {OTHER}"):
        open_file(str(file), own=True)
    file.chmod(0o600)
    os.chown(file, OTHER, -1)
    with pytest.raises(Untrusted, match=f"belongs to uid {OTHER}"):
        open_file(str(file), own=True)
    os.close(open_file(str(file)))
