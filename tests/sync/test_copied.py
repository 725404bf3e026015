"""A copy of the files of a launch has the same entries, or is not used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.sync import collect
from orchestrator.sync.copied import copy_tree, read_copy


def test_copy_is_the_tree_with_its_times_modes_and_links(here: Path, tmp_path: Path) -> None:
    (here / "lib").mkdir()
    (here / "lib/run.sh").write_text("#!/bin/sh")
    (here / "lib/run.sh").chmod(0o750)
    (here / "train.py").write_text("x")
    os.utime(here / "train.py", ns=(1, 1_700_000_000_123_456_789))
    (here / "latest").symlink_to("lib")
    (here / "dangling").symlink_to("/nowhere")
    (here / os.fsdecode(b"\xff")).write_text("name")
    (here / ".gitignore").write_text("*.bin")
    tree = collect(here)
    copy = tmp_path / "files"
    copy_tree(tree, copy)
    (here / "train.py").write_text("another")
    found = read_copy(copy, tree.digest)
    assert found is not None
    assert found.entries == tree.entries
    assert copy.stat().st_mode & 0o777 == 0o700


def test_copy_of_a_changed_tree_is_not_read(here: Path, tmp_path: Path) -> None:
    (here / "train.py").write_text("x")
    tree = collect(here)
    (here / "train.py").write_text("another")
    copy_tree(tree, tmp_path / "files")
    assert read_copy(tmp_path / "files", tree.digest) is None


def test_copy_that_fails_leaves_nothing(here: Path, tmp_path: Path) -> None:
    (here / "train.py").write_text("x")
    tree = collect(here)
    (here / "train.py").unlink()
    with pytest.raises(FileNotFoundError):
        copy_tree(tree, tmp_path / "files")
    assert not (tmp_path / "files").exists()
    assert read_copy(tmp_path / "files", tree.digest) is None
