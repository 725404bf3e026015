"""The launcher that a script is surely for, and what it reads when the job is launched."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.api.engine import job_for
from orchestrator.api.job import read_job
from orchestrator.errors import UsageError
from orchestrator.inventory import Host
from orchestrator.plan import Job

HOSTS = (Host(name="a", address="a"), Host(name="b", address="b"))
ACCELERATE = "from accelerate import Accelerator\n"
BOTH = "import deepspeed\nimport accelerate\nparser.add_argument('--local_rank')\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a configuration of Accelerate, as the current folder; the home is empty."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DS_ENV_FILE", raising=False)
    monkeypatch.chdir(folder)
    (folder / "accelerate_config.yaml").write_text("distributed_type: FSDP\n")
    return folder


def job(
    text: str, *arguments: str, hosts: tuple[Host, ...] = HOSTS, launcher: str | None = None
) -> tuple[Job, list[str]]:
    """Return the job of train.py with this text, and what was said."""
    Path("train.py").write_text(text)
    said: list[str] = []
    asked = read_job("train.py", arguments, {"launcher": launcher})
    return job_for(asked, hosts, said.append), said


def test_launcher_of_the_script_is_chosen_and_said(project: Path) -> None:
    found, said = job(ACCELERATE)
    assert found.launcher == "accelerate"
    assert found.launcher_arguments == ("--config_file=accelerate_config.yaml",)
    (line,) = said
    assert line == (
        "launcher: accelerate, because train.py imports it (line 1) and accelerate_config.yaml is its "
        "configuration; --launcher overrides it"
    )


def test_launcher_that_is_named_is_not_questioned(project: Path) -> None:
    assert job(ACCELERATE, launcher="torchrun")[1] == []
    named = (Host(name="a", address="a", launcher="direct"), HOSTS[1])
    with pytest.raises(UsageError, match="different launchers: direct, torchrun"):
        job(ACCELERATE, hosts=named)
    found, said = job(
        ACCELERATE, hosts=tuple(Host(name=n, address=n, launcher="direct") for n in "ab")
    )
    assert (found.launcher, said) == (None, [])


def test_script_for_two_launchers_gets_the_default(project: Path) -> None:
    found, said = job(BOTH, "--deepspeed_config", "ds.json")
    assert (found.launcher, said) == (None, [])
    (project / "accelerate_config.yaml").unlink()
    found, said = job(BOTH, "--deepspeed_config", "ds.json")
    assert found.launcher == "deepspeed"
    (line,) = said
    assert line == (
        "launcher: deepspeed, because train.py imports it (line 1), takes --local_rank, and gets "
        "--deepspeed_config; --launcher overrides it"
    )


def test_other_script_gets_the_default_without_a_word(project: Path) -> None:
    assert job("import torch\n") == (job("import torch\n")[0], [])
    assert job("import torch\n")[0].launcher is None


def test_configuration_is_found_from_a_subfolder(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "run").mkdir()
    (project / "train.py").write_text(ACCELERATE)
    monkeypatch.chdir(project / "run")
    asked = read_job("../train.py", (), {"sync": project})
    assert asked.job.folder == "run"
    found = job_for(asked, HOSTS)
    assert found.launcher_arguments == ("--config_file=../accelerate_config.yaml",)


def test_job_that_the_launcher_cannot_take_is_refused_at_once(project: Path) -> None:
    asked = read_job(
        "none", (), {"launcher": "deepspeed", "no_sync": True}, launcher_arguments=["-x"]
    )
    with pytest.raises(UsageError, match="takes only --no_local_rank"):
        job_for(asked, HOSTS)
