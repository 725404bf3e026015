"""A package that adds a format of host lists in one file: every `-i` reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..inventory.packages import MACHINES, install_reader
from .orch import Orch


@pytest.fixture
def packages(tmp_path: Path) -> str:
    folder = tmp_path / "packages"
    install_reader(folder, "machines", MACHINES)
    return str(folder)


def test_hosts_come_from_the_format_of_a_package(tmp_path: Path, orch: Orch, packages: str) -> None:
    (tmp_path / "gpus.txt").write_text(
        '#machines\n{"name": "a", "address": "127.0.0.1", "port": 1}\n'
    )
    for given in ("gpus.txt", "machines:gpus.txt"):
        done = orch("nodes", "-i", given, PYTHONPATH=packages)
        assert done.stdout.splitlines()[1].split()[:2] == ["a", "127.0.0.1:1"]
        assert done.stderr.startswith(f"orch: {given}: read as a list of machines\n")


def test_fault_in_the_format_of_a_package_has_its_line(
    tmp_path: Path, orch: Orch, packages: str
) -> None:
    (tmp_path / "gpus.txt").write_text("#machines\nwhat\n")
    (tmp_path / "x.py").touch()
    done = orch("launch", "--dry-run", "x.py", ORCH_INVENTORY="gpus.txt", PYTHONPATH=packages)
    assert done.returncode == 2
    assert done.stderr.endswith("orch: gpus.txt:2:1: expected a machine as JSON\n")


def test_broken_format_is_named_and_left_out(tmp_path: Path, orch: Orch, packages: str) -> None:
    install_reader(Path(packages), "broken", "1 / 0")
    (tmp_path / "gpus.txt").write_text(
        '#machines\n{"name": "a", "address": "127.0.0.1", "port": 1}\n'
    )
    done = orch("nodes", "-i", "gpus.txt", PYTHONPATH=packages)
    assert done.stdout.splitlines()[1].split()[0] == "a"
    assert done.stderr.startswith(
        "orch: inventory format 'broken' of orch_broken 1.2 is left out: ZeroDivisionError"
    )
    (tmp_path / "hosts.yaml").write_text("hosts: [{name: b, address: 127.0.0.1, port: 1}]")
    assert "left out" not in orch("nodes", PYTHONPATH=packages).stderr
