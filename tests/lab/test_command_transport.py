"""`transport: command` with ssh itself as the program, on real hosts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import orch, processes_of_runs, write

pytestmark = pytest.mark.lab

SCRIPT = "import os, socket\nprint('rank', os.environ['RANK'], 'on', socket.gethostname())\n"
FORMS = {
    "login shell": ["ssh", "-F", "CONFIG", "{name}", "{script}"],
    "joined words": ["ssh", "-F", "CONFIG", "{name}", "sh", "-c", "{quoted_script}"],
}


def inventory_for(lab: Lab, folder: Path, words: list[str]) -> Path:
    """Write an inventory of the hosts that are reached by this command."""
    command = [str(lab.dir / "ssh_config") if word == "CONFIG" else word for word in words]
    inventory = {
        "transport": {"command": command},
        "defaults": {"python": sys.executable},
        "hosts": list(lab.nodes),
    }
    path = folder / "command.yaml"
    path.write_text(json.dumps(inventory))
    return path


@pytest.mark.parametrize("form", FORMS)
def test_launch_runs_through_ssh(lab3: Lab, tmp_path: Path, form: str) -> None:
    inventory = inventory_for(lab3, tmp_path, FORMS[form])
    script = write(tmp_path / "project", "train.py", SCRIPT)
    done = orch(lab3, "launch", "-i", inventory, "--launcher", "direct", script)
    assert done.returncode == 0, done.stderr
    lines = sorted(line.partition("│ ")[2] for line in done.stdout.splitlines())
    assert lines == [f"rank {rank} on {node}" for rank, node in enumerate(lab3.nodes)]
    assert not processes_of_runs(lab3)


def test_words_joined_by_ssh_are_explained(lab3: Lab, tmp_path: Path) -> None:
    words = ["ssh", "-F", "CONFIG", "{name}", "sh", "-c", "{script}"]
    done = orch(lab3, "nodes", "-i", inventory_for(lab3, tmp_path, words))
    assert done.returncode == 125
    assert "write {quoted_script} in place of {script}" in done.stderr
