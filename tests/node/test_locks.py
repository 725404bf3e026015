"""Locks of extensions that a killed build has left on a node."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.node.probes.locks import locks


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CACHE_HOME", "TORCH_EXTENSIONS_DIR"):
        monkeypatch.delenv(name, raising=False)
    lock = tmp_path / ".cache/torch_extensions/py311_cpu/cpu_adam/lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    return lock


def test_lock_that_no_process_has_open_has_its_age(lock: Path) -> None:
    os.utime(lock, (0, 0))
    (found,) = locks({}, [])
    assert found["path"] == str(lock)
    assert found["age"] > 1e9


def test_lock_that_a_process_has_open_is_left_out(lock: Path) -> None:
    with lock.open():
        assert locks({}, []) == []
    assert len(locks({}, [])) == 1


def test_locks_are_searched_in_the_folder_of_the_job(lock: Path, tmp_path: Path) -> None:
    own = tmp_path / "own/fused/lock"
    own.parent.mkdir(parents=True)
    own.touch()
    (found,) = locks({"TORCH_EXTENSIONS_DIR": str(tmp_path / "own")}, [])
    assert found["path"] == str(own)


def test_locks_without_extensions_are_empty(tmp_path: Path) -> None:
    assert locks({"TORCH_EXTENSIONS_DIR": str(tmp_path)}, []) == []
