"""The node side on every Python from 3.8 that is installed here."""

from __future__ import annotations

import ast
import shutil
import subprocess
from pathlib import Path

import pytest

import orchestrator.node
from orchestrator.node import processes
from orchestrator.preflight.registry import CHECKS

from .conftest import AgentProcess, last_status, rank_records, text_of

VERSIONS = [f"3.{minor}" for minor in range(8, 15)]


def interpreter(version: str) -> str | None:
    """Return a Python of this version: one in PATH that works, or one of pyenv."""
    kept = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    for candidate in (shutil.which(f"python{version}"), *map(str, kept)):
        if candidate is not None:
            done = subprocess.run([candidate, "-V"], capture_output=True, text=True, check=False)
            if done.stdout.startswith(f"Python {version}."):
                return candidate
    return None


@pytest.mark.parametrize(
    "source", sorted(Path(orchestrator.node.__file__).parent.rglob("*.py")), ids=str
)
def test_node_sources_are_python_3_8(source: Path) -> None:
    ast.parse(source.read_text(), feature_version=(3, 8))


@pytest.mark.parametrize("version", VERSIONS)
def test_run_on_each_python_version_ends_cleanly(tmp_path: Path, version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    agent = AgentProcess(tmp_path, python)
    facts = agent.ask("facts")["ok"]
    assert facts["python_version"].startswith(version)
    names = {probe.name for check in CHECKS for probe in check.probes}
    probes = agent.ask("check", limit=30, probes={name: {} for name in names})["ok"]
    wrong = [answer["error"] for answer in probes.values() if "error" in answer]
    assert all("required positional argument" in error for error in wrong), wrong
    agent.start(["/bin/sh", "-c", "echo out; echo err >&2; exit 3"])
    messages = agent.follow()
    assert text_of(messages, "attempt-0/rank-0.out") == b"out\n"
    assert rank_records(messages)[0]["code"] == 3
    assert last_status(messages)["left"] == []
    agent.close()
    assert processes.kill_all(str(agent.directory)) == []
