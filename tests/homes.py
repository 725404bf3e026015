"""Home folders in which a node's code is installed: to compile it takes half a second in each new one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.warm import Warm

_NODE = ".local/state/orch/node"
"""Where a node's code is, below its home."""


def install(home: Path, warm: Warm) -> None:
    """Let orch install a node's code in a home."""
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    done = warm.run(["launch", "--local", "1", "--dry-run", "--no-sync", "x.py"], environment, home)
    assert done.returncode == 0, done.stderr


def copy_node(used_home: Path, home: Path) -> None:
    """Copy a node's code from a home in which orch has installed it."""
    shutil.copytree(used_home / _NODE, home / _NODE)


def enter_project(tmp_path: Path, used_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty folder the current one, and another the home; return the first."""
    home, project = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    project.mkdir()
    copy_node(used_home, home)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    monkeypatch.chdir(project)
    return project
