"""The ranks as DeepSpeed starts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.plan import Job
from orchestrator.plan.launchers.deepspeed import LAUNCHER

from .test_accelerate import share

PARSES = """
import argparse, deepspeed
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
{more}
args = parser.parse_args()
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home and current folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DS_ENV_FILE", raising=False)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def test_rank_gets_its_local_rank_on_an_uneven_node() -> None:
    processes = LAUNCHER.processes(share(), Job("train.py", arguments=("--lr", "1")))
    assert [process.rank for process in processes] == [2, 3, 4, 5]
    for number, process in enumerate(processes):
        assert process.argv == (
            "/opt/py", "-u", "train.py", f"--local_rank={number}", "--lr", "1",
        )  # fmt: skip
        expected = {
            "RANK": str(2 + number),
            "LOCAL_RANK": str(number),
            "WORLD_SIZE": "7",
            "LOCAL_SIZE": "4",
            "CROSS_RANK": "1",
            "CROSS_SIZE": "3",
            "MASTER_ADDR": "10.0.0.1",
            "MASTER_PORT": "29500",
        }
        assert expected.items() <= process.environment.items()


def test_module_and_program_get_the_local_rank_as_first_argument() -> None:
    (first, *_) = LAUNCHER.processes(share(), Job("pkg.t", module=True, arguments=("x",)))
    assert first.argv == ("/opt/py", "-u", "-m", "pkg.t", "--local_rank=0", "x")
    (first, *_) = LAUNCHER.processes(share(), Job("./run.sh", program=True))
    assert first.argv == ("./run.sh", "--local_rank=0")


@pytest.mark.parametrize("argument", ["--no_local_rank", "--no-local-rank"])
def test_local_rank_can_be_left_out(argument: str) -> None:
    job = Job("train.py", launcher_arguments=(argument,))
    LAUNCHER.check_job(job)
    assert LAUNCHER.processes(share(), job)[0].argv == ("/opt/py", "-u", "train.py")
    assert LAUNCHER.trial_arguments(()) == ("--no_local_rank",)


def test_other_options_of_deepspeed_are_refused() -> None:
    with pytest.raises(UsageError, match="takes only --no_local_rank"):
        LAUNCHER.check_job(Job("train.py", launcher_arguments=("--num_gpus=2",)))


def test_variables_of_its_file_are_secret_and_the_job_wins(home: Path) -> None:
    (home / "here/.deepspeed_env").write_text("TOKEN=abc\nLR=1\n")
    job = LAUNCHER.configure(Job("train.py", environment={"LR": "2"}), None)
    assert job.environment == {"TOKEN": "abc", "LR": "2"}
    assert job.secrets == {"TOKEN"}
    assert LAUNCHER.configure(job, None) == job


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("", 6),
        ("parser = deepspeed.add_config_arguments(parser)", 6),
        ("parser.add_argument('--local_rank', type=int)", None),
        ("parser.add_argument('--local-rank', type=int)", None),
        ("add_options(parser)", None),
        ("other = argparse.ArgumentParser()", None),
    ],
)
def test_script_that_does_not_take_the_local_rank_is_found(more: str, line: int | None) -> None:
    problem = LAUNCHER.check_script(PARSES.format(more=more), Job("train.py"))
    assert (None if problem is None else problem.line) == line
    without = Job("train.py", launcher_arguments=("--no_local_rank",))
    assert LAUNCHER.check_script(PARSES.format(more=more), without) is None


@pytest.mark.parametrize(
    "text",
    [
        "args = parser.parse_args()\n",
        "import argparse\np = argparse.ArgumentParser()\np.parse_known_args()\n",
        "import argparse\np = argparse.ArgumentParser(parents=[q])\np.parse_args()\n",
        "import argparse\np = argparse.ArgumentParser(**more)\np.parse_args()\n",
        "import argparse\np = argparse.ArgumentParser()\np.parse_args([])\n",
        "not Python\n",
    ],
)
def test_script_that_may_take_the_local_rank_is_not_refused(text: str) -> None:
    assert LAUNCHER.check_script(text, Job("train.py")) is None


@pytest.mark.parametrize(
    ("text", "arguments", "is_sure"),
    [
        ("import deepspeed\np.add_argument('--local_rank')\n", ("--deepspeed",), True),
        ("import deepspeed.comm\n# --local-rank\n", ("--deepspeed_config=ds.json",), True),
        ("import deepspeed\np.add_argument('--local_rank')\n", (), False),
        ("import deepspeed\n", ("--deepspeed", "ds.json"), False),
        ("import transformers  # --local_rank\n", ("--deepspeed", "ds.json"), False),
    ],
)
def test_script_is_for_deepspeed_only_with_config_and_local_rank(
    text: str, arguments: tuple[str, ...], is_sure: bool
) -> None:
    why = LAUNCHER.why_chosen(text, Job("train.py", arguments=arguments), None)
    assert (why is not None) == is_sure
