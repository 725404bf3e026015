"""Which run a command means."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.api.selection import active_run
from orchestrator.errors import UsageError

from .fake_run import FakeRun
from .orch import Orch


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / ".local/state"))
    return tmp_path


def test_active_run_is_the_default_before_a_later_ended_one(home: Path) -> None:
    FakeRun(home, "train-lusab")
    FakeRun(home, "eval-babad").end(age=-60.0)
    assert active_run(None, "orch stop").run == "train-lusab"
    assert active_run("latest", "orch stop").run == "eval-babad"


def test_latest_run_is_the_default_without_an_active_one(home: Path) -> None:
    FakeRun(home, "train-lusab").end(age=60.0)
    FakeRun(home, "eval-babad").end()
    assert active_run(None, "orch attach").run == "eval-babad"


def test_prefix_of_one_active_run_means_that_run(home: Path) -> None:
    FakeRun(home, "train-lusab")
    FakeRun(home, "train-babad").end()
    assert active_run("train", "orch stop").run == "train-lusab"
    assert active_run("babad", "orch stop").run == "train-babad"


def test_several_active_runs_are_listed_with_a_line_to_paste(home: Path) -> None:
    FakeRun(home, "train-lusab")
    FakeRun(home, "eval-babad", nodes=1)
    with pytest.raises(UsageError) as refused:
        active_run(None, "orch stop")
    lines = str(refused.value).splitlines()
    assert lines[0] == "2 runs are active; name one of them:"
    assert [line.split()[0] for line in lines[1:3]] == ["eval-babad", "train-lusab"]
    assert lines[1].endswith("  1 node  train.py --lr 3")
    assert lines[3] == "  → orch stop eval-babad"
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("words", [["stop"], ["attach"], ["stacks"], ["logs", "-f"]])
def test_commands_on_active_runs_list_several_candidates(
    orch: Orch, tmp_path: Path, words: list[str]
) -> None:
    FakeRun(tmp_path, "train-lusab")
    FakeRun(tmp_path, "eval-babad")
    done = orch(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "2 runs are active; name one of them:" in done.stderr
    assert f"→ orch {' '.join(words)} eval-babad" in done.stderr


@pytest.mark.parametrize("words", [["status"], ["logs", "--tail", "1"]])
def test_commands_that_only_read_default_to_the_latest_run(
    orch: Orch, tmp_path: Path, words: list[str]
) -> None:
    FakeRun(tmp_path, "train-lusab")
    late = FakeRun(tmp_path, "eval-babad")
    late.write(0, "of the latest\n", 1.0)
    late.end(age=-60.0)
    assert "of the latest" in orch(*words).stdout


def test_stop_of_an_ended_run_reports_its_end(orch: Orch, tmp_path: Path) -> None:
    FakeRun(tmp_path, "train-lusab").end()
    done = orch("stop")
    assert done.returncode == 0
    assert "run train-lusab has ended already: all 4 ranks succeeded" in done.stderr
