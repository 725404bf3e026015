"""A launch with hosts from an inventory in another tool's format."""

from __future__ import annotations

from pathlib import Path

import pytest
from labkit.lab import Lab

from orchestrator.inventory import load

from ..inventory.packages import MACHINES, install_reader
from .orch import launch, orch, write

pytestmark = pytest.mark.lab


def test_job_runs_on_the_hosts_of_another_format(lab3: Lab, tmp_path: Path) -> None:
    install_reader(tmp_path / "packages", "machines", MACHINES)
    environment = {"PYTHONPATH": str(tmp_path / "packages")}
    hosts = load(lab3.inventory).hosts
    source = tmp_path / "gpus.txt"
    source.write_text("\n".join(["#machines", *(host.model_dump_json() for host in hosts)]))
    listed = orch(lab3, "nodes", "-i", source, env=environment)
    assert listed.returncode == 0, listed.stderr
    assert [line.split()[0] for line in listed.stdout.splitlines()[1:]] == lab3.nodes
    assert f"orch: {source}: read as a list of machines\n" in listed.stderr
    project = tmp_path / "project"
    script = write(project, "hello.py", "import os; print('hello from', os.environ['RANK'])\n")
    words = ("--launcher", "direct", "--sync", project, "--preflight", "off", script)
    shown = launch(lab3, "--dry-run", *words, inventory=source, env=environment)
    assert shown.returncode == 0, shown.stderr
    for node in lab3.nodes:
        assert node in shown.stdout
    done = launch(lab3, *words, inventory=source, env=environment)
    assert done.returncode == 0, done.stderr
    assert sorted(line.partition("hello")[2] for line in done.stdout.splitlines()) == [
        f" from {rank}" for rank in range(len(lab3.nodes))
    ]
