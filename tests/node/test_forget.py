"""Housekeeping on a node: ended runs are removed, live ones are kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.node import packages

from .conftest import AgentProcess, last_status

SLEEP = ["sleep", "1000"]
DAY = 24 * 3600.0


def forget(agent: AgentProcess, *runs: str, **more: Any) -> dict[str, Any]:
    pairs = [[run, "node0"] for run in runs]
    answer: dict[str, Any] = agent.ask("forget", limit=20, runs=pairs, **more)["ok"]
    return answer


def usage(agent: AgentProcess, *runs: str) -> list[int | None]:
    pairs = [[run, "node0"] for run in runs]
    answer: list[int | None] = agent.ask("usage", limit=20, runs=pairs)["ok"]["bytes"]
    return answer


def test_forget_of_ended_run_removes_it_and_returns_its_bytes(agent: AgentProcess) -> None:
    agent.start(["head", "-c", "1000000", "/dev/zero"])
    agent.follow()
    (size,) = usage(agent, agent.run)
    assert size is not None and 1_000_000 <= size < 1_300_000
    answer = forget(agent, agent.run)
    assert answer == {
        "removed": [[agent.run, "node0"]], "live": [], "failed": [], "bytes": size,
    }  # fmt: skip
    assert not agent.directory.parent.exists()
    assert usage(agent, agent.run) == [None]


def test_forget_of_live_run_keeps_it(agent: AgentProcess) -> None:
    agent.start(SLEEP)
    assert forget(agent, agent.run)["live"] == [[agent.run, "node0"]]
    status = last_status(agent.follow(until=lambda m: "status" in m[0]))
    os.kill(status["pid"], signal.SIGKILL)
    assert last_status(agent.follow())["state"] == "lost"
    assert forget(agent, agent.run)["live"] == [[agent.run, "node0"]], "its rank lives on"
    assert agent.directory.exists()
    agent.ask("sweep", run=agent.run, node="node0")
    assert forget(agent, agent.run)["removed"] == [[agent.run, "node0"]]


def test_forget_of_partial_or_missing_run_reports_removed(agent: AgentProcess) -> None:
    (agent.directory / "attempt-0").mkdir(parents=True)
    (agent.directory / "status.json").write_text('{"state": "run')
    answer = forget(agent, agent.run, "never-started")
    assert answer["removed"] == [[agent.run, "node0"], ["never-started", "node0"]]
    assert not agent.directory.parent.exists()


def test_forget_keeps_folder_of_another_node(agent: AgentProcess) -> None:
    agent.directory.mkdir(parents=True)
    other = agent.directory.with_name("node1")
    other.mkdir()
    forget(agent, agent.run)
    assert other.exists() and not agent.directory.exists()


@pytest.mark.parametrize("which", ["folder", "parent", "inside"])
def test_forget_follows_no_link_out_of_its_folder(agent: AgentProcess, which: str) -> None:
    precious = agent.home / "precious"
    (precious / "node0").mkdir(parents=True)
    link = {
        "folder": agent.directory,
        "parent": agent.directory.parent,
        "inside": agent.directory / "link",
    }[which]
    link.parent.mkdir(parents=True)
    link.symlink_to(precious)
    answer = forget(agent, agent.run)
    assert (precious / "node0").exists()
    assert len(answer["removed" if which == "inside" else "failed"]) == 1


def test_forget_with_invalid_name_removes_nothing(
    agent: AgentProcess,
) -> None:
    agent.directory.mkdir(parents=True)
    answer = agent.ask("forget", limit=20, runs=[[agent.run, "node0"], ["..", "node0"]])
    assert "not a name: '..'" in answer["error"]
    assert agent.directory.exists()


def test_forget_removes_only_old_trials_of_this_node(agent: AgentProcess) -> None:
    runs = agent.directory.parent.parent
    for run, node in (("old", "node0"), ("young", "node0"), ("theirs", "node1")):
        trial = {"run": f"preflight-{run}", "node": node}
        agent.ask("put", **trial, name="script.py", text="")
    old, young = runs / "preflight-old/node0", runs / "preflight-young/node0"
    theirs, run_of_that_name = runs / "preflight-theirs/node1", runs / "preflight-mine/node0"
    run_of_that_name.mkdir(parents=True)
    for folder in (old, theirs, run_of_that_name):
        os.utime(folder, (time.time() - 2 * DAY,) * 2)
    answer = forget(agent, node="node0", trials_older=DAY)
    assert answer["removed"] == [["preflight-old", "node0"]]
    assert not old.parent.exists()
    assert young.exists() and theirs.exists() and run_of_that_name.exists()


def test_old_trial_that_lives_is_kept(agent: AgentProcess) -> None:
    agent.ask("put", run=agent.run, node="node0", name="script.py", text="")
    agent.start(SLEEP)
    os.utime(agent.directory, (0, 0))
    assert forget(agent, node="node0", trials_older=DAY)["live"] == [[agent.run, "node0"]]


def test_forget_of_trials_without_node_is_refused(agent: AgentProcess) -> None:
    answer = agent.ask("forget", limit=20, runs=[], trials_older=DAY)
    assert "the name of the node is missing" in answer["error"]


def test_forget_removes_unused_packages(agent: AgentProcess) -> None:
    (own,) = agent.home.rglob("node-*.pyz")
    old = [
        "node-0000000000000000.pyz",
        "node-0000000000000000.cpython-38.pyz",
        "node-1111111111111111.pyz.0123456789abcdef.tmp",
    ]
    kept = ["node-2222222222222222.pyz", "notes.pyz", "node-3333333333333333.txt"]
    for name in old + kept:
        (own.parent / name).write_bytes(bytes(5000))
    for path in own.parent.iterdir():
        os.utime(path, (time.time() - 8 * DAY,) * 2)
    os.utime(own.parent / kept[0])  # by a supervisor on a node that shares the home
    answer = forget(agent, node="node0", trials_older=DAY)
    left = {path.name for path in own.parent.iterdir() if path.is_file()}
    assert left == {own.name, *kept}
    assert answer["bytes"] >= 15_000


def test_package_of_live_process_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "node-0000000000000000.pyz"
    old.write_text("import sys; print('up', flush=True); sys.stdin.read()")
    os.utime(old, (0, 0))
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "node-4444444444444444.pyz")])
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, str(old)], stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        assert packages.remove_unused() == 0
        assert old.exists()
    packages.remove_unused()
    assert not old.exists()


def test_supervisor_marks_its_package_as_used(agent: AgentProcess) -> None:
    (own,) = agent.home.rglob("node-*.pyz")
    os.utime(own, (0, 0))
    agent.start(["true"])
    agent.follow()
    assert time.time() - own.stat().st_mtime < 60
