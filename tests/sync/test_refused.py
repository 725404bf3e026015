"""Folders that are sent only if they are named."""

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
    (tmp_path / "link").symlink_to(home)
    assert why_refused(tmp_path / "link") == "your home folder"
    assert (
        why_refused(Path("~root").expanduser()) is not None
    )  # the home of this user, whatever HOME is


def test_project_in_the_home_is_not_refused(home: Path) -> None:
    (home / "exp").mkdir()
    assert why_refused(home / "exp") is None


@pytest.mark.parametrize(
    "folder", ["/", "/tmp", "/var/tmp", "/usr", "/etc", "/usr/local/bin", "/home"]
)
def test_system_folder_is_refused(home: Path, folder: str) -> None:
    assert why_refused(Path(folder)) is not None


def test_temporary_folder_is_refused_but_not_folders_in_it(home: Path) -> None:
    assert why_refused(Path(tempfile.gettempdir())) is not None
    with tempfile.TemporaryDirectory() as folder:
        assert why_refused(Path(folder)) is None


def test_missing_home_refuses_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")
    assert why_refused(tmp_path / "exp") is None
    assert why_refused(Path("/")) == "the root of the file system"
