"""The folder of a run below /tmp: private, short, and removed only if it is this user's."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.node import scratch, trust

_SOCKET = "/session_2026-12-01_02-30-10_792717_4194304/sockets/plasma_store.999"


@pytest.fixture
def run() -> Iterator[str]:
    name = uuid.uuid4().hex[:12]
    yield name
    scratch.remove(name)


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True))
def test_path_has_room_for_sockets_of_ray_below_it(run: str) -> None:
    path = scratch.folder_of(run)
    assert len(path + _SOCKET) <= 107
    assert Path(path).parent == Path("/tmp")


def test_long_names_with_the_same_start_have_different_folders() -> None:
    assert scratch.folder_of("a" * 40) != scratch.folder_of("a" * 41)


def test_folder_is_private_made_once_and_removed_with_its_files(run: str) -> None:
    folder = Path(scratch.folder_of(run))
    scratch.make(run)
    assert folder.stat().st_mode & 0o777 == 0o700
    (folder / "session" / "logs").mkdir(parents=True)
    scratch.make(run)  # by another node on the same machine
    assert (folder / "session").is_dir()
    scratch.remove(run)
    assert not folder.exists()
    scratch.remove(run)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_link_of_another_user_is_neither_used_nor_followed(run: str, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    folder = Path(scratch.folder_of(run))
    folder.symlink_to(tmp_path)
    os.lchown(folder, 12345, 12345)
    try:
        with pytest.raises(trust.Untrusted):
            scratch.make(run)
        scratch.remove(run)
        assert (tmp_path / "mine").exists()
    finally:
        folder.unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_folder_of_another_user_is_refused_and_left(run: str) -> None:
    folder = Path(scratch.folder_of(run))
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    try:
        with pytest.raises(trust.Untrusted):
            scratch.make(run)
        scratch.remove(run)
        assert folder.exists()
    finally:
        folder.rmdir()
