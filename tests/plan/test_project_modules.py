"""Modules of the project that ranks cannot import."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.plan.project_modules import remedy_for_project_module


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in (
        "repo/pyproject.toml", "repo/shared/tools.py", "repo/exp/train.py", "repo/exp/libs/net/__init__.py",
        "repo/exp/libs/space/part/one.py", "repo/exp/venv/pyvenv.cfg", "repo/exp/venv/lib/cv2/__init__.py",
        "repo/exp/.hidden/secret.py", "repo/exp/wandb/run.json", "else/other.py",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path / "repo/exp"


@pytest.mark.parametrize(("module", "folder", "path"), [
    ("net", "", "libs"), ("space", "", "libs"), ("net", "scripts", "../libs"),
])  # fmt: skip
def test_module_in_the_synced_folder_needs_pythonpath(
    project: Path, module: str, folder: str, path: str
) -> None:
    remedy = remedy_for_project_module(project, folder, module)
    assert remedy == f"{module} is the project's own, in libs: launch with --env PYTHONPATH={path}"


def test_module_beside_the_synced_folder_needs_sync(project: Path) -> None:
    remedy = remedy_for_project_module(project, "", "tools")
    assert remedy is not None
    assert f"--sync {project.parent} --env PYTHONPATH=../shared" in remedy


@pytest.mark.parametrize("module", ["cv2", "secret", "wandb", "other", "torch"])
def test_installed_module_is_not_the_projects(project: Path, module: str) -> None:
    assert remedy_for_project_module(project, "", module) is None
