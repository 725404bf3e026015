"""The folders of a run are private under any umask; folders that others can write to are refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from orchestrator.errors import LaunchError
from orchestrator.runs.folder import ensure_private_folder, load_json, runs_folder, state_folder
from orchestrator.runs.options import Settings
from orchestrator.runs.record import Record
from tests.runs.helpers import plan_of


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    return home


@pytest.mark.parametrize("mask", [0o000, 0o002, 0o022])
def test_new_run_is_private_under_any_umask(home: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        record = Record.create(plan_of(1, run="r"), Settings())
        record.close()
    finally:
        os.umask(before)
    assert record.folder == runs_folder() / "r"
    made = list(home.rglob("*"))
    assert home / ".local" in made
    modes = {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_dir()}
    assert modes == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_file()} == {0o600}


def test_folders_of_an_earlier_version_are_closed_to_the_group(home: Path) -> None:
    runs_folder().mkdir(parents=True)
    for folder in (state_folder(), runs_folder()):
        folder.chmod(0o775)
    Record.create(plan_of(1, run="r"), Settings()).close()
    assert stat.S_IMODE(state_folder().stat().st_mode) == 0o755
    assert stat.S_IMODE(runs_folder().stat().st_mode) == 0o755


def test_folder_that_others_can_write_to_is_refused_with_a_remedy(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    monkeypatch.setenv("XDG_STATE_HOME", str(shared))
    with pytest.raises(LaunchError) as caught:
        Record.create(plan_of(1, run="r"), Settings())
    assert f"{shared} can be written by everybody" in str(caught.value)
    assert f"chmod go-w {shared}; or set XDG_STATE_HOME to another folder" in str(caught.value)
    assert list(shared.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another owner")
def test_state_folder_of_another_owner_is_refused(home: Path) -> None:
    ensure_private_folder(runs_folder())
    os.chown(state_folder(), 1234, 1234)
    with pytest.raises(LaunchError, match="belongs to uid 1234"):
        ensure_private_folder(runs_folder())


def test_json_in_no_regular_file_or_nested_too_deeply_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        load_json(tmp_path / "pipe")
    (tmp_path / "deep").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        load_json(tmp_path / "deep")


def test_json_that_is_too_large_is_an_error(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="larger than"):
        load_json(tmp_path / "large")
