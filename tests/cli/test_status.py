"""`orch status`: what every rank does, from the folder of a run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from orchestrator import events
from orchestrator.runs.lock import find_controller

from .fake_run import T0, FakeRun, killing_its_controller
from .orch import Orch


def began(rank: int, t: float = 0.0) -> events.RankBegan:
    return events.RankBegan(rank, rank % 2, f"n{rank // 2}", 0, 100 + rank, T0 + t)


def test_status_shows_every_rank(orch: Orch, tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.note(
        events.Started("lusab-babad", run.folder), events.Following("n0"), events.Following("n1")
    )
    run.note(*map(began, range(4)))
    run.write(1, "loss 1\nloss 2\rloss 3\r", 1.0)
    run.write(1, "Error: no\n", 2.0, "stderr")
    run.note(events.RankEnded(1, "n0", 7, None, T0 + 2), events.RankEnded(3, "n1", None, 9, T0 + 3))
    described = json.loads(orch("status", "--output", "json").stdout)
    assert described["controller"] == {"pid": os.getpid(), "background": False}
    assert [node["state"] for node in described["nodes"]] == ["running", "running"]
    ranks = [rank for node in described["nodes"] for rank in node["ranks"]]
    assert [(rank["state"], rank["exit_code"], rank["signal"], rank["pid"]) for rank in ranks] == [
        ("running", None, None, 100), ("failed", 7, None, 101),
        ("running", None, None, 102), ("killed", 137, "SIGKILL", 103),
    ]  # fmt: skip
    assert (ranks[1]["bytes"], ranks[1]["last_line"]) == (31, "Error: no")
    assert ranks[1]["said"] == T0 + 2
    assert (ranks[0]["bytes"], ranks[0]["last_line"], ranks[0]["said"]) == (0, "", None)
    text = orch("status").stdout
    assert "run lusab-babad: running; 2 nodes, 4 ranks, direct" in text
    assert "SIGKILL" in text and "Error: no" in text


def test_status_of_an_ended_run_shows_its_end(orch: Orch, tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.note(began(0), events.RankEnded(0, "n0", 0, None, T0))
    run.note(events.NodeEnded("n0", "ended", ()), events.NodeEnded("n1", "lost", ()))
    run.end(3)
    described = json.loads(orch("status", "--output", "json").stdout)
    assert (described["state"], described["exit_code"]) == ("failed", 3)
    assert described["ended"] >= described["began"] and described["controller"] is None
    assert described["logs"] == str(run.folder / "logs")
    assert described["summary"] == "rank 1 on n0 exited with 3"
    assert [node["state"] for node in described["nodes"]] == ["ended", "lost"]
    assert "run lusab-babad: failed with exit code 3;" in orch("status", "lus").stdout


def test_status_shows_since_when_a_node_is_unreachable(orch: Orch, tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.note(*map(began, range(4)))
    run.leave()
    with killing_its_controller(run.folder):
        done = orch("status", "--output", "json")
    assert "run lusab-babad had no controller" in done.stderr
    described = json.loads(done.stdout)
    assert described["controller"]["background"]
    assert all(node["state"] == "unreachable" for node in described["nodes"])
    assert all(node["unreachable_since"] > described["began"] for node in described["nodes"])


def test_status_of_an_ended_run_asks_no_node(orch: Orch, tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.end(1, missing=("n1",))
    with killing_its_controller(run.folder):
        done = orch("status")
        assert (done.returncode, done.stderr) == (0, "")
        assert find_controller(run.folder) is None, "nobody fetches its logs either"


def test_status_without_any_run_is_a_usage_error(orch: Orch) -> None:
    done = orch("status")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no run yet" in done.stderr


# -- runs of others -----------------------------------------------------------------------------

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another owner")
PLANTED = ("status", "attach", "logs", "stop", "stacks", "diagnose", "control")


@as_root
@pytest.mark.parametrize("command", PLANTED)
def test_run_of_another_user_is_ignored(orch: Orch, tmp_path: Path, command: str) -> None:
    run = FakeRun(tmp_path).leave()
    os.chown(run.folder, 1234, 1234)
    before = sorted(path.name for path in run.folder.iterdir())
    with killing_its_controller(run.folder):
        done = orch(command, "lusab")
        assert done.returncode != 0
        assert f"run lusab-babad is ignored: {run.folder} belongs to uid 1234" in done.stderr
        assert f"chown -hR 0 {run.folder}" in done.stderr
        assert find_controller(run.folder) is None
    assert sorted(path.name for path in run.folder.iterdir()) == before  # no controller.log either


@as_root
def test_diagnose_ignores_the_folder_of_another_user_by_its_path(
    orch: Orch, tmp_path: Path
) -> None:
    run = FakeRun(tmp_path).leave()
    os.chown(run.folder, 1234, 1234)
    with killing_its_controller(run.folder):
        done = orch("diagnose", run.folder)
        assert "is ignored" in done.stderr
        assert find_controller(run.folder) is None
