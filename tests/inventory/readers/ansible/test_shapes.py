"""What orch makes of inventories in the shape of real ones, without Ansible."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.inventory import load

from .shapes import FOLDER, SHAPES, described, inventory_of


@pytest.mark.parametrize("name", SHAPES)
def test_shape_is_read_as_recorded(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # without ansible-inventory
    monkeypatch.delenv("ORCH_TEST_UNSET", raising=False)
    notes: list[str] = []
    inventory = load(str(inventory_of(name)), notes.append)
    assert described(inventory, notes) == (FOLDER / name / "expected.txt").read_text()


@pytest.mark.parametrize("name", ["mixed_fleet", "passwords"])
def test_secrets_are_never_repeated(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    inventory = load(str(inventory_of(name)))
    assert inventory.refused
    assert "Hidden" not in repr(inventory)
