"""Which run a command means."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.api.selection import active_run
from orchestrator.errors import UsageError

from .kept import KeptRun
from .orch import Orch


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / ".local/state"))
    return tmp_path


def test_without_a_name_the_active_run_is_meant_though_a_later_one_has_ended(home: Path) -> None:
    KeptRun(home, "train-lusab")
    KeptRun(home, "eval-babad").end(age=-60.0)
    assert active_run(None, "orch stop").run == "train-lusab"
    assert active_run("latest", "orch stop").run == "eval-babad"


def test_without_an_active_run_the_latest_is_meant(home: Path) -> None:
    KeptRun(home, "train-lusab").end(age=60.0)
    KeptRun(home, "eval-babad").end()
    assert active_run(None, "orch attach").run == "eval-babad"


def test_beginning_that_one_active_run_has_means_that_one(home: Path) -> None:
    KeptRun(home, "train-lusab")
    KeptRun(home, "train-babad").end()
    assert active_run("train", "orch stop").run == "train-lusab"
    assert active_run("babad", "orch stop").run == "train-babad"


def test_several_active_runs_are_listed_with_a_line_to_paste(home: Path) -> None:
    KeptRun(home, "train-lusab")
    KeptRun(home, "eval-babad", nodes=1)
    with pytest.raises(UsageError) as refused:
        active_run(None, "orch stop")
    lines = str(refused.value).splitlines()
    assert lines[0] == "2 runs are active; name one of them:"
    assert [line.split()[0] for line in lines[1:3]] == ["eval-babad", "train-lusab"]
    assert lines[1].endswith("  1 node  train.py --lr 3")
    assert lines[3] == "  → orch stop eval-babad"
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("words", [["stop"], ["attach"], ["stacks"], ["logs", "-f"]])
def test_commands_that_act_ask_which_of_several_is_meant(
    orch: Orch, tmp_path: Path, words: list[str]
) -> None:
    KeptRun(tmp_path, "train-lusab")
    KeptRun(tmp_path, "eval-babad")
    done = orch(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "2 runs are active; name one of them:" in done.stderr
    assert f"→ orch {' '.join(words)} eval-babad" in done.stderr


@pytest.mark.parametrize("words", [["status"], ["logs", "--tail", "1"]])
def test_commands_that_look_mean_the_latest(orch: Orch, tmp_path: Path, words: list[str]) -> None:
    KeptRun(tmp_path, "train-lusab")
    late = KeptRun(tmp_path, "eval-babad")
    late.say(0, "of the latest\n", 1.0)
    late.end(age=-60.0)
    assert "of the latest" in orch(*words).stdout


def test_stop_without_a_name_tells_that_the_latest_has_ended(orch: Orch, tmp_path: Path) -> None:
    KeptRun(tmp_path, "train-lusab").end()
    done = orch("stop")
    assert done.returncode == 0
    assert "run train-lusab has ended already: all 4 ranks succeeded" in done.stderr
