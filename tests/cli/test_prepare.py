"""`orch prepare` as it is typed; with real hosts: tests/lab/test_prepare.py."""

from __future__ import annotations

import tomllib
from pathlib import Path

from orchestrator.api.prepare import REQUIREMENT

from .orch import Orch

ROOT = Path(__file__).parents[2]


def test_missing_fabric_is_reported_with_the_command_that_installs_it(
    tmp_path: Path, orch: Orch
) -> None:
    (tmp_path / "hosts.yaml").write_text("hosts: [node0]\n")
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/fabric.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'fabric'\", name='fabric')\n"
    )
    done = orch("prepare", PYTHONPATH=str(tmp_path / "hidden"))
    assert done.returncode == 2
    assert "orch prepare needs Fabric: no module fabric" in done.stderr
    assert "pip install" in done.stderr
    assert f"'{REQUIREMENT}'" in done.stderr


def test_named_requirement_is_that_of_the_extra() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert settings["project"]["optional-dependencies"]["prepare"] == [REQUIREMENT]


def test_prepare_without_an_inventory_is_an_error(orch: Orch) -> None:
    done = orch("prepare")
    assert done.returncode == 2
    assert "hosts.yaml: there is no such inventory" in done.stderr
