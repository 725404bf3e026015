"""A folder to launch from, and a home of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.homes import copy_node


@pytest.fixture
def empty_project(tmp_path: Path, used_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one; runs and all else go to another home."""
    home, project = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    project.mkdir()
    copy_node(used_home, home)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    monkeypatch.chdir(project)
    return project
