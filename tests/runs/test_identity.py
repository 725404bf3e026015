"""The owner of a project: one id per user, created once, and another owner for each folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import LaunchError
from orchestrator.runs.identity import owner_of, source_of


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "orch"


def test_owner_is_constant_and_different_for_each_folder(state: Path) -> None:
    first = owner_of("/a/exp")
    assert owner_of("/a/exp") == first
    assert owner_of("/b/exp") != first
    assert (state / "id").stat().st_mode & 0o777 == 0o600


def test_owner_of_a_folder_differs_between_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = owner_of("/a/exp")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    assert owner_of("/a/exp") != first


@pytest.mark.parametrize("text", ["", "half", "x" * 32, "0" * 33])
def test_torn_id_is_replaced(state: Path, text: str) -> None:
    owner_of("/a")
    (state / "id").write_text(text)
    assert owner_of("/a") == owner_of("/a")
    assert len((state / "id").read_text()) == 32


def test_id_that_cannot_be_stored_is_an_error(state: Path) -> None:
    state.write_text("a file")
    with pytest.raises(LaunchError, match="XDG_STATE_HOME"):
        owner_of("/a")


def test_source_has_user_and_machine() -> None:
    assert source_of("/a/exp").endswith(":/a/exp")
    assert "@" in source_of("/a/exp")
