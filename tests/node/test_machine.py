"""Which runs use a machine, and which wait for it."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from orchestrator.node import files, supervise
from orchestrator.node.machine import Place

from .conftest import AgentProcess


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def users(place: Place, since: float | None = None) -> list[str]:
    return [run for run, _ in place.ask(since, claim=False)["users"]]


def test_ask_without_queue_uses_the_machine_and_lists_users() -> None:
    first, second = Place("a", "node0"), Place("b", "node0")
    assert first.ask(None, claim=False) == {"taken": False, "has": True, "users": [], "ahead": []}
    answer = second.ask(None, claim=False)
    assert (answer["has"], [run for run, _ in answer["users"]]) == (True, ["a"])
    first.leave()
    assert users(second) == []


def test_use_has_the_age_of_its_run(home: Path) -> None:
    first = Place("a", "node0")
    first.use()
    (hold,) = home.rglob("a@node0")
    os.utime(hold, (time.time() - 720, time.time() - 720))
    ((run, seconds),) = Place("b", "node0").ask(None, claim=False)["users"]
    assert run == "a" and seconds == pytest.approx(720, abs=60)


def test_nodes_of_one_run_that_are_one_machine_do_not_wait_for_each_other() -> None:
    first, second = Place("a", "local0"), Place("a", "local1")
    assert first.ask(1.0, claim=True)["has"]
    assert second.ask(1.0, claim=True)["has"]
    assert users(Place("b", "local0")) == ["a"]


def test_free_machine_is_claimed_by_the_first_in_the_queue() -> None:
    running, late, early = Place("a", "node0"), Place("b", "node0"), Place("c", "node0")
    running.use()
    assert late.ask(20.0, claim=True)["ahead"] == []
    assert early.ask(10.0, claim=True)["ahead"] == []
    assert late.ask(20.0, claim=True)["ahead"] == ["c"]
    running.leave()
    assert not late.ask(20.0, claim=True)["has"]
    assert early.ask(10.0, claim=True)["has"]
    assert users(late, 20.0) == ["c"]
    early.leave()
    assert late.ask(20.0, claim=True) == {"taken": False, "has": True, "users": [], "ahead": []}


def test_claim_is_released_by_asking_without_claim() -> None:
    place = Place("a", "node0")
    assert place.ask(1.0, claim=True)["has"]
    assert not place.ask(1.0, claim=False)["has"]
    assert Place("b", "node0").ask(2.0, claim=False)["users"] == []


def test_run_that_leaves_the_queue_is_not_ahead(home: Path) -> None:
    early, late = Place("a", "node0"), Place("b", "node0")
    early.ask(1.0, claim=False)
    assert late.ask(2.0, claim=True)["ahead"] == ["a"]
    early.leave()
    assert late.ask(2.0, claim=True)["has"]
    assert [path.name.split("@")[1] for path in home.rglob("line/*")] == ["b"]


def test_ask_with_a_taken_name_does_nothing(home: Path) -> None:
    Path(files.run_directory("a", "node0")).mkdir(parents=True)
    taken = {"taken": True, "has": False, "users": [], "ahead": []}
    assert Place("a", "node0").ask(None, claim=False) == taken
    assert Place("a", "node0").ask(1.0, claim=True) == taken
    assert users(Place("b", "node0")) == []


def test_machines_that_share_a_home_are_separate(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place("a", "node0")
    place.use()
    monkeypatch.setattr(socket, "gethostname", lambda: "../other host")
    assert users(Place("b", "node1")) == []


@pytest.mark.parametrize("name", ["../a", "a/b", "", "a@b"])
def test_invalid_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        Place(name, "node0")


def test_run_uses_the_machine_until_its_last_process_is_gone(agent: AgentProcess) -> None:
    assert agent.ask("use", run=agent.run, node="node0", since=None, claim=False)["ok"]["has"]
    assert agent.start(["sleep", "1000"])["ok"] == {"problem": None}
    agent.close()
    other = Place("other", "node0")
    assert users(other) == [agent.run]
    assert supervise.request_stop(str(agent.directory), 0.0, "test", {})
    deadline = time.monotonic() + 30
    while users(other) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert users(other) == [] and agent.left() == set()
