"""Which runs work in a folder, and which may change it: locks that end with their holders."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import pytest

from orchestrator.node import files, manifest, processes, records
from orchestrator.node.holds import Hold, Turn, runs_in
from orchestrator.sync import Tree
from orchestrator.sync.placement import packed

from .conftest import AgentProcess


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HOME", str(tmp_path))
    return manifest.state_of("/work")


def hold(state: str, run: str, node: str) -> Hold:
    taken = Hold()
    taken.take(state, run, node)
    return taken


def test_runs_in_lists_other_runs_that_hold_the_folder(state: str) -> None:
    assert runs_in(state, "b") == []
    first, second, own = (
        hold(state, "a", "node0"),
        hold(state, "a", "node1"),
        hold(state, "b", "n0"),
    )
    assert runs_in(state, "b") == ["a"]
    first.release()
    assert runs_in(state, "b") == ["a"]
    second.release()
    assert runs_in(state, "b") == []
    assert [path.name for path in (Path(state) / "runs").iterdir()] == ["b@n0"]
    own.release()


def test_two_holds_of_one_run_last_until_both_are_released(state: str) -> None:
    first, second = hold(state, "a", "node0"), hold(state, "a", "node0")
    first.release()
    assert runs_in(state, "b") == ["a"]
    second.release()
    assert runs_in(state, "b") == []


def test_turn_is_exclusive_until_given_up(state: str) -> None:
    first, second = Turn(), Turn()
    assert first.take(state, "run-a") is None
    assert second.take(state, "run-b") == "run-a"
    first.give_up()
    assert second.take(state, "run-b") is None
    second.give_up()
    second.give_up()


def enter(agent: AgentProcess, folder: Path, run: str | None = None, digest: str = "d") -> object:
    return agent.ask(
        "enter", run=run or agent.run, node="node0", workdir=str(folder), own=False, owner="o",
        source="", digest=digest, names=[], overwrite=False, again=False,
    )["ok"]  # fmt: skip


def place(agent: AgentProcess, folder: Path) -> None:
    """Place nothing, as for an empty project."""
    enter(agent, folder)
    assert agent.ask("compare", run=agent.run, tree=packed(Tree(folder, ())))["ok"]["send"] == []
    agent.ask("begin", run=agent.run)
    assert agent.ask("settle", run=agent.run)["ok"] == {"missing": 0, "have": []}


@pytest.fixture
def second(tmp_path: Path, agent: AgentProcess) -> AgentProcess:
    return AgentProcess(agent.home)


def test_killed_agent_releases_hold_and_turn(
    agent: AgentProcess, second: AgentProcess, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    answer = enter(agent, folder)
    assert isinstance(answer, dict) and "busy" not in answer
    assert enter(second, folder) == {"busy": agent.run}
    agent.process.send_signal(signal.SIGKILL)
    agent.process.wait()
    answer = enter(second, folder)
    assert isinstance(answer, dict)
    assert answer["others"] == []
    second.close()


def test_hold_of_ended_run_is_given_time_to_be_released(state: str, tmp_path: Path) -> None:
    leaver = hold(state, "a", "node0")
    folder = files.run_directory("a", "node0")
    files.make_folder(folder)
    status = {"state": "ended", "pid": 1, "start": 1, "launcher": None, "left": []}
    files.write_json(records.status_path(folder), status)
    leaving = threading.Timer(0.1, leaver.release)
    leaving.start()
    assert runs_in(state, "b") == []
    leaving.join()
    # One that stays counts: another attempt may follow.
    stayer = hold(state, "a", "node0")
    assert runs_in(state, "b") == ["a"]
    stayer.release()


def test_supervisor_keeps_the_hold_after_its_agent_has_ended(
    agent: AgentProcess, second: AgentProcess, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    place(agent, folder)
    argv = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert agent.start(argv, cwd=str(folder))["ok"] == {"problem": None}
    directory, run = agent.directory, agent.run
    agent.close()
    answer = enter(second, folder, "other")
    assert isinstance(answer, dict)
    assert answer["others"] == [run]
    second.ask("leave", run="other")
    stop = second.ask("stop", run=run, node="node0", grace=0.0, reason="test", detail={})
    assert "ok" in stop, stop
    second.run = run
    second.follow()
    assert processes.of_run(str(directory)) == set()
    answer = enter(second, folder, "other")
    assert isinstance(answer, dict)
    assert answer["others"] == []
    second.close()
