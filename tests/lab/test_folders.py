"""Other users cannot write to orch's folders, and orch uses no folder of another user."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import ORCH, agents, controllers, launch, orch, processes_of_runs, run_name, write

pytestmark = pytest.mark.lab

HELLO = "import os\nprint('hello from', os.environ['RANK'])\n"
OTHER = 1234
AGENT = ".local/state/orch/node"


def modes_below(folder: Path) -> dict[str, int]:
    """Return the modes of orch's folders that other users can access."""
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    # A rank's Python writes __pycache__ next to what it imports, with the rank's umask.
    ours = [path for path in folders if path.name != "__pycache__"]
    modes = {str(path): path.stat().st_mode & 0o777 for path in ours}
    return {path: mode for path, mode in modes.items() if mode != 0o700}


@pytest.mark.torch
def test_folders_are_private_with_a_group_umask(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = make_lab(2)
    script = write(tmp_path / "job", "hello.py", HELLO)
    for node in lab.nodes:
        with (lab.files(node) / "home/.bashrc").open("a") as file:
            file.write("umask 002\n")
    words = [*ORCH, "launch", "-i", str(lab.inventory), "--launcher", "torchrun", str(script)]
    done = lab.run(["sh", "-c", f"umask 002; exec {shlex.join(words)}"])
    assert done.returncode == 0, done.stderr
    workdirs = [path for path in lab.files("node0").glob("home/*") if path.is_dir()]
    assert any(path.stat().st_mode & 0o020 for path in workdirs)  # the user's umask applies there
    for home in (lab.home, *(lab.files(node) / "home" for node in lab.nodes)):
        assert modes_below(home / ".local") == {}


@pytest.mark.parametrize("is_foreign", [False, True])
def test_agent_in_a_folder_of_another_user_is_not_started(
    lab3: Lab, tmp_path: Path, is_foreign: bool
) -> None:
    script = write(tmp_path / "job", "hello.py", HELLO)
    assert launch(lab3, "--launcher", "direct", script).returncode == 0
    folder = lab3.files("node1") / "home" / AGENT
    seen = lab3.run(["sh", "-c", f'printf %s "$HOME/{AGENT}"'], node="node1").stdout
    folder.chmod(0o700 if is_foreign else 0o770)
    os.chown(folder, OTHER if is_foreign else 0, OTHER)
    try:
        done = launch(lab3, "--launcher", "direct", script)
        assert done.returncode == 125
        assert "node1: orch's agent is not started: " in done.stderr
        if is_foreign:
            assert f"{seen} belongs to uid {OTHER}, and you are root (uid 0)" in done.stderr
        else:
            assert f"{seen} can be written by the group {OTHER}" in done.stderr
            assert f"on node1: chmod go-w {seen}" in done.stderr
        assert not [node for node, _ in agents(lab3) if node == "node1"]
        assert processes_of_runs(lab3) == []
    finally:
        os.chown(folder, 0, 0)
        folder.chmod(0o700)
    assert launch(lab3, "--launcher", "direct", script).returncode == 0


def test_run_record_of_another_user_starts_no_process(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "hello.py", HELLO)
    done = launch(lab3, "--launcher", "direct", "--restarts", "3", script)
    assert done.returncode == 0, done.stderr
    theirs = run_name(done.stderr)
    planted = "zuzuz-zuzuz"
    folder = lab3.home / ".local/state/orch/runs" / planted
    shutil.copytree(folder.with_name(theirs), folder)
    path = folder / "run.json"
    said = json.loads(path.read_text())
    said.update(run=planted, state="running", ended=None, exit_code=None, summary="")
    path.write_text(json.dumps(said))
    (folder / "events.jsonl").write_text("")
    try:
        for whose in (folder, path):
            for place in (folder, path):
                os.chown(place, 0, 0)
            os.chown(whose, OTHER, OTHER)
            done = orch(lab3, "status", planted)
            assert done.returncode != 0
            assert f"run {planted} is ignored: {whose} belongs to uid {OTHER}" in done.stderr
            assert controllers(lab3, planted) == []
            assert processes_of_runs(lab3, planted) == []
            assert not (folder / "controller.log").exists()
            assert "1 run left out: " in orch(lab3, "runs").stderr
    finally:
        shutil.rmtree(folder)
