"""Every command of README, docs and examples, as printed, on lab hosts; its output has the shape shown."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
from labkit.lab import Lab

from .console_blocks import Command, commands, mismatch

pytestmark = [pytest.mark.lab, pytest.mark.torch]

_ROOT = Path(__file__).parents[2]
_PROJECT = Path(__file__).with_name("documented")
_PAGES = sorted(
    path
    for path in (
        _ROOT / "README.md",
        *(_ROOT / "docs").rglob("*.md"),
        *(_ROOT / "examples").rglob("*.md"),
    )
    if "decisions" not in path.parts and any(commands(path))
)


@pytest.fixture(scope="module")
def site(lab3: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for `orch` on the PATH; the nodes' python3 is one that has torch."""
    for node in lab3.nodes:
        bashrc = lab3.files(node) / "home/.bashrc"
        bashrc.write_text(f"export PATH={Path(sys.executable).parent}:$PATH\n")
    folder = tmp_path_factory.mktemp("bin")
    orch = folder / "orch"
    orch.write_text(f'#!/bin/sh\nexec {sys.executable} -m orchestrator "$@"\n')
    orch.chmod(0o755)
    return folder


def _folder_of(page: Path, place: Path) -> Path:
    """Return the folder in which the reader of a page types."""
    is_example = "examples" in page.parts
    folder = shutil.copytree(_ROOT / "examples" if is_example else _PROJECT, place / "exp")
    if not any(re.match("orch init (node0|-o hosts.yaml)", each.words) for each in commands(page)):
        hosts = "node0, node1" if is_example else "node0, node1, node2"
        (folder / "hosts.yaml").write_text(f"hosts: [{hosts}]\n")
    return folder


@pytest.mark.timeout(400)
@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(_ROOT)))
def test_page_is_followed_output_is_as_shown(
    page: Path, lab3: Lab, site: Path, tmp_path: Path
) -> None:
    folder = _folder_of(page, tmp_path)
    differing = [
        problem
        for command in commands(page)
        if not command.not_run and (problem := _problem(command, lab3, site, folder))
    ]
    if differing:
        pytest.fail("\n\n".join(differing), pytrace=False)


def _problem(command: Command, lab: Lab, site: Path, folder: Path) -> str | None:
    path = f"{site}:{lab.env['PATH']}"
    script = f"exec 2>&1; {command.words}"
    done = lab.run(["bash", "-c", script], env={"PATH": path}, cwd=folder, timeout=120)
    where = f"{command.page.name}:{command.number}: $ {command.words}"
    if (done.returncode != 0) != command.fails:
        return f"{where}\nexit code {done.returncode}\n{done.stdout}"
    line = mismatch(command.shown, done.stdout)
    return f"{where}\nnot printed: {line}\n{done.stdout}" if line else None
