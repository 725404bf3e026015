"""Folders that go only when they are named."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from orchestrator.sync.refused import why_refused


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "users/ann"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    return home


def test_home_and_what_contains_it_are_refused(home: Path, tmp_path: Path) -> None:
    assert why_refused(home) == "your home folder"
    assert why_refused(home.parent) == "a folder that contains your home folder"
    assert why_refused(tmp_path) == "a folder that contains your home folder"
    (tmp_path / "way").symlink_to(home)
    assert why_refused(tmp_path / "way") == "your home folder"
    assert why_refused(Path("~root").expanduser()) is not None  # this user's, whatever HOME says


def test_project_in_the_home_may_go(home: Path) -> None:
    (home / "exp").mkdir()
    assert why_refused(home / "exp") is None


@pytest.mark.parametrize(
    "folder", ["/", "/tmp", "/var/tmp", "/usr", "/etc", "/usr/local/bin", "/home"]
)
def test_folder_of_the_system_is_refused(home: Path, folder: str) -> None:
    assert why_refused(Path(folder)) is not None


def test_folder_of_temporary_files_is_refused_and_what_is_in_it_is_not(home: Path) -> None:
    assert why_refused(Path(tempfile.gettempdir())) is not None
    with tempfile.TemporaryDirectory() as folder:
        assert why_refused(Path(folder)) is None


def test_home_that_is_nowhere_refuses_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/")
    assert why_refused(tmp_path / "exp") is None
    assert why_refused(Path("/")) == "the root of the file system"
