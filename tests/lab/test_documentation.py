"""Commands of README, docs and examples run on lab hosts as printed, and their output has the shape shown.

README and some pages by default; all pages with ORCH_DOCS=all, which takes several minutes.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from labkit import life
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
def lab() -> Iterator[Lab]:
    """Three hosts whose `python3` has torch, and a controller that has `orch`."""
    lab = life.up(3, f"documentation-{os.getpid()}")
    exports = f"export PATH={Path(sys.executable).parent}:$PATH OMP_NUM_THREADS=1\n"
    for node in lab.nodes:
        (lab.files(node) / "home/.bashrc").write_text(exports)
    orch = lab.home / "bin/orch"
    orch.parent.mkdir()
    orch.write_text(f'#!/bin/sh\nexec {sys.executable} -m orchestrator "$@"\n')
    orch.chmod(0o755)
    yield lab
    life.down(lab.name)


def _forget(lab: Lab) -> None:
    """Remove what earlier pages left: each page assumes a new reader."""
    for home in (lab.home, *(lab.files(node) / "home" for node in lab.nodes)):
        for folder in (".local/state/orch", "orch", "exp"):
            shutil.rmtree(home / folder, ignore_errors=True)


def _folder_of(page: Path, place: Path) -> Path:
    """Return the current folder for the commands of a page."""
    is_example = "examples" in page.parts
    folder = shutil.copytree(_ROOT / "examples" if is_example else _PROJECT, place / "exp")
    if not any(re.match("orch init (node0|.*hostfile)", each.words) for each in commands(page)):
        hosts = "node0, node1" if is_example else "node0, node1, node2"
        (folder / "hosts.yaml").write_text(f"hosts: [{hosts}]\n")
    return folder


_ALWAYS = {"README.md", "docs/guides/detach.md", "docs/guides/files.md", "docs/guides/logs.md"}
_ALWAYS |= {"docs/guides/hosts.md", "examples/restarts/README.md"}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(_ROOT)))
def test_commands_of_a_page_print_what_it_shows(page: Path, lab: Lab) -> None:
    if str(page.relative_to(_ROOT)) not in _ALWAYS and os.environ.get("ORCH_DOCS") != "all":
        pytest.skip("one of many: ORCH_DOCS=all")
    _forget(lab)
    folder = _folder_of(page, lab.home)
    problems = [_problem(each, lab, folder) for each in commands(page) if not each.not_run]
    if any(problems):
        pytest.fail("\n\n".join(filter(None, problems)), pytrace=False)


def _problem(command: Command, lab: Lab, folder: Path) -> str | None:
    """Return how a command differs from what is shown, with its output; None if it does not."""
    path = f"{lab.home}/bin:{lab.env['PATH']}"
    script = f"exec 2>&1; {command.words}"
    done = lab.run(["bash", "-c", script], env={"PATH": path}, cwd=folder, timeout=300)
    where = f"{command.page.name}:{command.number}: $ {command.words}"
    if (done.returncode != 0) != command.fails:
        return f"{where}\nexit code {done.returncode}\n{done.stdout}"
    line = mismatch(command.shown, done.stdout)
    return f"{where}\nnot printed: {line}\n{done.stdout}" if line else None
