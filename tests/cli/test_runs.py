"""`orch runs`: the table, and pruning."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator import events
from orchestrator.node.reasons import StopReason
from orchestrator.reasons import Stop

from .fake_run import FakeRun, killing_its_controller
from .orch import Orch

DAY = 86400.0


def names(orch: Orch) -> list[str]:
    return [run["run"] for run in json.loads(orch("runs", "--output", "json").stdout)]


# -- the table ---------------------------------------------------------------------------------


def test_runs_are_listed_the_latest_first(orch: Orch, tmp_path: Path) -> None:
    FakeRun(tmp_path, "older").end(3, age=2 * DAY)
    FakeRun(tmp_path, "newer").end()
    done = orch("runs")
    heading, *rows = (line.split() for line in done.stdout.splitlines())
    assert heading[:4] == ["RUN", "STATE", "EXIT", "AGE"]
    assert [row[:3] for row in rows] == [["newer", "succeeded", "0"], ["older", "failed", "3"]]
    assert "train.py --lr 3" in done.stdout
    assert (done.stderr, done.returncode) == ("", 0)


@pytest.mark.parametrize(
    ("code", "said", "state"),
    [
        (0, {"outcome": "succeeded"}, "succeeded"),
        (3, {"outcome": "failed"}, "failed"),
        (1, {"outcome": "lost"}, "lost"),
        (130, {"outcome": "stopped"}, "stopped"),
        # What an earlier version wrote has the exit code alone.
        (0, {"outcome": None}, "succeeded"),
        (130, {"outcome": None}, "stopped"),
        (124, {"outcome": None}, "stopped"),
        (137, {"outcome": None}, "failed"),
        (125, {"outcome": None, "state": "failed"}, "failed"),
    ],
)
def test_runs_show_the_outcome_and_the_duration(
    orch: Orch, tmp_path: Path, code: int, said: dict[str, Any], state: str
) -> None:
    FakeRun(tmp_path).end(code, **said)
    (described,) = json.loads(orch("runs", "--output", "json").stdout)
    assert (described["state"], described["exit_code"]) == (state, code)
    assert described["took_seconds"] == pytest.approx(5.0, abs=2.0)
    assert f"{state}" in orch("runs").stdout
    assert f"run lusab-babad: {state} with exit code {code}" in orch("status").stdout


def test_runs_show_a_run_without_a_controller(orch: Orch, tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    assert "no controller" not in orch("runs").stdout
    (described,) = json.loads(orch("runs", "--output", "json").stdout)
    assert described["controller"] == {"pid": os.getpid(), "background": False}
    run.leave()
    with killing_its_controller(run.folder):
        assert "running (no controller)" in orch("runs").stdout
        (described,) = json.loads(orch("runs", "--output", "json").stdout)
        assert (described["state"], described["controller"]) == ("running", None)
        assert "no controller" in orch("runs").stdout, "to look at it has started nothing"


def test_runs_show_stopping_and_stalled_with_the_reason(orch: Orch, tmp_path: Path) -> None:
    stalled = events.Stalled(90.0, ("r0-3 all_reduce",), (), "")
    FakeRun(tmp_path, "gets-on").note(stalled, events.Resumed(95.0))
    FakeRun(tmp_path, "waits").note(events.Following("n0"), events.Following("n1"), stalled)
    FakeRun(tmp_path, "ends").note(stalled, events.Stopping(Stop(StopReason.STOP_REQUEST), 3.0))
    described = json.loads(orch("runs", "--output", "json").stdout)
    states = {run["run"]: (run["state"], run["summary"]) for run in described}
    assert states == {
        "gets-on": ("running", ""),
        "waits": ("stalled", "r0-3 all_reduce"),
        "ends": ("stopping", "orch stop"),
    }
    shown = orch("status", "waits").stdout
    assert "run waits: stalled;" in shown and "r0-3 all_reduce" in shown


def test_runs_quiet_prints_names_only(orch: Orch, tmp_path: Path) -> None:
    FakeRun(tmp_path, "older").end(age=2 * DAY)
    FakeRun(tmp_path, "newer").end()
    assert orch("runs", "--quiet").stdout == "newer\nolder\n"
    assert orch("runs", "-q", "--output", "json").returncode == 2


def test_runs_without_any_run_reports_that(orch: Orch) -> None:
    done = orch("runs")
    assert (done.stdout, done.returncode) == ("", 0)
    assert "there is no run yet" in done.stderr
    assert json.loads(orch("runs", "--output", "json").stdout) == []


# -- pruning -----------------------------------------------------------------------------------


def test_prune_removes_runs_that_ended_a_month_ago(orch: Orch, tmp_path: Path) -> None:
    FakeRun(tmp_path, "old").end(age=31 * DAY)
    FakeRun(tmp_path, "young").end(age=29 * DAY)
    done = orch("runs", "--prune", "--here")
    assert (done.stdout.split()[:2], done.returncode) == (["old", "31"], 0)
    assert "1 run removed" in done.stderr
    assert names(orch) == ["young"]


def test_prune_by_size_removes_the_oldest_until_the_rest_fits(orch: Orch, tmp_path: Path) -> None:
    for age, name in enumerate(("c", "b", "a")):
        run = FakeRun(tmp_path, name)
        run.write(0, b"x" * 1_000_000, 0.0)
        run.end(age=age * DAY)
    orch("runs", "--prune", "--here", "--larger-than", "2.5MB")
    assert names(orch) == ["c", "b"]


def test_prune_without_old_runs_reports_that(orch: Orch, tmp_path: Path) -> None:
    FakeRun(tmp_path, "young").end()
    done = orch("runs", "--prune")
    assert (done.stdout, done.stderr, done.returncode) == ("", "orch: nothing to prune\n", 0)


def test_prune_dry_run_lists_runs_in_columns(orch: Orch, tmp_path: Path) -> None:
    FakeRun(tmp_path, "the-oldest-of-all").end(age=100 * DAY)
    FakeRun(tmp_path, "old").end(age=40 * DAY)
    shown = orch("runs", "--prune", "--here", "--dry-run").stdout.splitlines()
    assert [line.partition(" ago  ")[0] for line in shown] == [
        "the-oldest-of-all  100 d", "old                 40 d",
    ]  # fmt: skip


def test_prune_dry_run_removes_nothing(orch: Orch, tmp_path: Path) -> None:
    run = FakeRun(tmp_path, "old")
    run.write(0, b"x" * 2_000_000, 0.0)
    run.end(age=40 * DAY)
    done = orch("runs", "--prune", "--here", "--dry-run")
    assert "2.0 MB here" in done.stdout
    assert "1 run would be removed" in done.stderr
    assert names(orch) == ["old"]


def test_active_run_is_never_pruned(orch: Orch, tmp_path: Path) -> None:
    controlled, left = FakeRun(tmp_path, "controlled"), FakeRun(tmp_path, "left").leave()
    done = orch("runs", "--prune", "--here", "--older-than", "0s", "--larger-than", "0")
    assert (done.stdout, done.returncode) == ("", 0)
    assert controlled.folder.exists() and left.folder.exists()


def test_run_that_a_node_still_has_stays_on_the_list(orch: Orch, tmp_path: Path) -> None:
    FakeRun(tmp_path, "old").end(age=40 * DAY)
    done = orch("runs", "--prune")
    assert (done.stdout, done.returncode) == ("", 1)
    assert "old kept: n0: 127.0.0.1 port 1 refuses connections" in done.stderr
    assert "--here removes only the copies on this machine" in done.stderr
    assert names(orch) == ["old"]


def test_folder_without_a_record_is_reported_and_pruned_after_a_day(
    orch: Orch, tmp_path: Path
) -> None:
    run = FakeRun(tmp_path).end()
    (run.folder / "run.json").write_text('{"run": "lus')
    assert "1 folder without a readable record" in orch("runs").stderr
    orch("runs", "--prune")
    assert run.folder.exists()
    then = time.time() - 2 * DAY
    os.utime(run.folder, (then, then))
    orch("runs", "--prune")
    assert not run.folder.exists()


def test_record_of_another_version_is_pruned_only_after_the_end_of_its_run(
    orch: Orch, tmp_path: Path
) -> None:
    run = FakeRun(tmp_path)
    run.leave()
    record = run.folder / "run.json"
    for state, stays in (("running", True), ("ended", False)):
        record.write_text(json.dumps({"state": state, "of": "another version"}))
        os.utime(run.folder, (0, 0))
        orch("runs", "--prune", "--here")
        assert run.folder.exists() is stays


def test_target_of_a_link_is_not_pruned(orch: Orch, tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.end(age=40 * DAY)
    elsewhere = run.folder.rename(tmp_path / "elsewhere")
    run.folder.symlink_to(elsewhere)
    before = sorted(elsewhere.rglob("*"))
    assert orch("runs", "--prune", "--here").returncode == 0
    assert sorted(elsewhere.rglob("*")) == before
    assert names(orch) == [run.folder.name]


@pytest.mark.parametrize("rule", ["--older-than=0s", "--larger-than=0"])
def test_prune_removes_a_run_from_its_nodes(
    orch: Orch, environment: dict[str, str], tmp_path: Path, rule: str
) -> None:
    (tmp_path / "t.py").write_text("print('hello')")
    launched = orch("launch", "--local", "1", "--launcher", "direct", "--preflight", "off", "t.py")
    assert launched.returncode == 0, launched.stderr
    (of_node,) = Path(environment["HOME"]).rglob("local0/status.json")
    done = orch("runs", "--prune", rule, "--output", "json")
    (pruned,) = json.loads(done.stdout)
    assert pruned["removed"] and pruned["node_bytes"] > 0 and pruned["problems"] == []
    assert not of_node.exists()
    assert names(orch) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--older-than", "30d"], "go with --prune"),
        (["--dry-run"], "go with --prune"),
        (["--prune", "--older-than", "soon"], "--older-than: 'soon' is not a moment"),
        (["--prune", "--larger-than", "10 X"], "--larger-than: '10 X' is not a size"),
    ],
)
def test_invalid_options_of_prune_remove_nothing(
    orch: Orch, tmp_path: Path, words: list[str], message: str
) -> None:
    FakeRun(tmp_path, "old").end(age=40 * DAY)
    done = orch("runs", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert names(orch) == ["old"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another owner")
def test_runs_of_other_users_are_left_out_with_one_message(orch: Orch, tmp_path: Path) -> None:
    FakeRun(tmp_path, "lusab-babad").end()
    theirs = [FakeRun(tmp_path, name).leave() for name in ("gutih-tugad", "sogof-radol")]
    for run in theirs:
        os.chown(run.folder, 1234, 1234)
    done = orch("runs")
    assert done.returncode == 0
    assert "lusab-babad" in done.stdout and "gutih-tugad" not in done.stdout
    assert "2 runs left out: " in done.stderr and "belongs to uid 1234" in done.stderr
    assert "and 1 more" in done.stderr
    assert orch("runs", "--prune", "--older-than", "0s", "--here").returncode == 0
    assert all(run.folder.exists() for run in theirs)
