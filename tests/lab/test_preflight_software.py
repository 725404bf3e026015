"""Nodes whose interpreters differ: a real virtual environment on a real host, with one fault."""

from __future__ import annotations

import json
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from labkit.lab import Lab

from .orch import launch, orch, write

pytestmark = [pytest.mark.lab, pytest.mark.torch]

PACKAGES = Path(sysconfig.get_path("purelib"))
SCRIPT = "import torch\nimport sklearn\nprint('it runs')\n"


class Interpreters:
    """Virtual environments on nodes of a lab, and the inventory that names them."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.inventory = folder / "hosts.yaml"
        self.inventory.write_text(lab.inventory.read_text())

    def make(self, node: str, name: str, *, without: Sequence[str]) -> Path:
        """Give `node` an interpreter with the modules of this one, except some.

        Returns the path of its site-packages on this machine.
        """
        place = f"/tmp/{name}"
        done = self.lab.run([sys.executable, "-m", "venv", "--without-pip", place], node=node)
        assert done.returncode == 0, done.stderr
        own = self.lab.files(node) / place[1:]
        (packages,) = own.glob("lib/python*/site-packages")
        for entry in PACKAGES.iterdir():
            if entry.suffix != ".pth" and entry.name.partition("-")[0] not in without:
                (packages / entry.name).symlink_to(entry)
        text = self.inventory.read_text()
        key = f"name: {node},"
        self.inventory.write_text(text.replace(key, f"{key} python: {place}/bin/python,"))
        return packages

    def check(self, *words: str | Path) -> tuple[int, list[dict[str, Any]]]:
        """Return the exit code and the findings of a preflight."""
        done = orch(self.lab, "preflight", "-i", self.inventory, "--output", "json", *words)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)["checks"]


@pytest.fixture
def interpreters(lab3: Lab, tmp_path: Path) -> Interpreters:
    return Interpreters(lab3, tmp_path)


def by_status(findings: list[dict[str, Any]], check: str) -> dict[str, list[str]]:
    """Return {status: nodes} of one check."""
    return {each["status"]: each["nodes"] for each in findings if each["id"] == check}


def failure(findings: list[dict[str, Any]], check: str) -> dict[str, Any]:
    (found,) = [each for each in findings if each["id"] == check and each["status"] == "fail"]
    return found


def test_different_torch_and_missing_module_refuse_a_launch(
    interpreters: Interpreters, tmp_path: Path
) -> None:
    lab, script = interpreters.lab, write(tmp_path / "job", "train.py", SCRIPT)
    other = interpreters.make("node1", "other-torch", without=["torch"])
    (other / "torch").mkdir()  # another build; a real one would take gigabytes
    (other / "torch/version.py").write_text("__version__ = '2.12.1+cu128'\ncuda = '12.8'\n")
    (other / "torch/__init__.py").write_text("from .version import __version__\n")
    lacking = interpreters.make("node2", "no-sklearn", without=["sklearn", "scikit_learn"])

    code, findings = interpreters.check("--only", "sw.versions,sw.import", script)
    assert code == 1
    torch = failure(findings, "sw.versions")
    assert torch["nodes"] == ["node1"]
    assert torch["message"].startswith(
        "torch 2.12.1+cu128 (CUDA 12.8), but node[0,2] have torch 2."
    )
    (line,) = [each for each in torch["remedy"]["commands"] if " install " in each]
    assert line.startswith("/tmp/other-torch/bin/python -m pip install torch==")
    module = failure(findings, "sw.import")
    assert module["nodes"] == ["node2"]
    assert module["message"] == f"has no module sklearn ({script}:2 imports it)"
    assert module["remedy"]["commands"] == [
        "/tmp/no-sklearn/bin/python -m pip install scikit-learn"
    ]
    assert by_status(findings, "sw.import")["pass"] == ["node0", "node1"]

    done = launch(lab, "--launcher", "direct", script, inventory=interpreters.inventory)
    assert done.returncode == 125
    assert "sw.versions  node1: torch 2.12.1+cu128" in done.stderr
    assert "sw.import  node2: has no module sklearn" in done.stderr
    assert "it runs" not in done.stdout

    (lacking / "sklearn").symlink_to(PACKAGES / "sklearn")
    _, findings = interpreters.check("--only", "sw.import", script)
    assert by_status(findings, "sw.import") == {"pass": ["node0", "node1", "node2"]}


def test_node_without_click_cannot_start_fabric_run(interpreters: Interpreters) -> None:
    interpreters.make("node1", "no-click", without=["click"])
    words = ("--launcher", "fabric", "--nodes", "node[0-1]", "--only", "sw.launcher,sw.torch")
    code, findings = interpreters.check(*words)
    assert code == 1
    found = failure(findings, "sw.launcher")
    assert found["nodes"] == ["node1"]
    assert "click is not installed" in found["message"]
    assert found["remedy"]["commands"] == ["/tmp/no-click/bin/python -m pip install click"]
    assert by_status(findings, "sw.launcher")["pass"] == ["node0"]
    assert by_status(findings, "sw.torch") == {"pass": ["node0", "node1"]}


def test_other_code_and_another_variable_on_one_node_are_named(
    interpreters: Interpreters, tmp_path: Path
) -> None:
    lab, script = interpreters.lab, write(tmp_path / "code-job", "train.py", "print('it runs')\n")
    done = launch(lab, "--launcher", "direct", "--preflight", "off", script)
    assert done.returncode == 0, done.stderr
    (lab.files("node2") / "home/orch/code-job/train.py").write_text("print('it ran')\n")
    # A variable for every command of a login: bash reads this file under sshd.
    (lab.files("node1") / "home/.bashrc").write_text("export NCCL_TIMEOUT=1800\n")
    try:
        code, findings = interpreters.check("--only", "sw.code,sw.env,sw.kernel", script)
    finally:
        (lab.files("node1") / "home/.bashrc").unlink()
    assert code == 1
    assert by_status(findings, "sw.code") == {"fail": ["node2"], "pass": ["node0", "node1"]}
    assert failure(findings, "sw.code")["message"] == "train.py differs from most nodes"
    unread = [each for each in findings if "nothing reads it" in each["message"]]
    assert [(each["id"], each["status"], each["nodes"]) for each in unread] == [
        ("sw.env", "warn", ["node1"])
    ]
    assert by_status(findings, "sw.env")["pass"] == ["node0", "node2"]
    assert by_status(findings, "sw.kernel") == {"pass": ["node0", "node1", "node2"]}
