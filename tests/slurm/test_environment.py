"""srun reads no option from the environment, and ranks know the job but no task."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.node.environment import job_environment
from orchestrator.slurm.environment import (
    CLEAN_LOGIN,
    command_environment,
    kept_for_ranks,
    step_environment,
)

# What a batch script with --ntasks-per-node, --gpus-per-node and --cpus-per-task has.
BATCH = {
    "PATH": "/usr/bin",
    "SLURM_JOB_ID": "5",
    "SLURM_JOBID": "5",
    "SLURM_CONF": "/etc/slurm/slurm.conf",
    "SLURM_ARRAY_TASK_ID": "3",
    "SLURM_JOB_NAME": "exp",
    "SLURM_CPUS_PER_TASK": "8",
    "SLURM_GPUS_PER_NODE": "2",
    "SLURM_JOB_NODELIST": "node[0-1]",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_MEM_PER_NODE": "1000",
    "SLURM_NNODES": "2",
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_EXPORT_ENV": "NONE",
    "SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22",
    "PMI_RANK": "0",
}


def test_step_environment_has_no_option_of_srun() -> None:
    assert step_environment(BATCH) == {
        "PATH": "/usr/bin",
        "SLURM_JOB_ID": "5",
        "SLURM_JOBID": "5",
        "SLURM_CONF": "/etc/slurm/slurm.conf",
        "SLURM_ARRAY_TASK_ID": "3",
    }


def test_command_environment_has_nothing_of_a_surrounding_job() -> None:
    given = {"PATH": "/bin", "SLURM_CONF": "/conf", "SLURM_JOB_ID": "4", "SBATCH_WAIT": "1"}
    assert command_environment(given) == {"PATH": "/bin", "SLURM_CONF": "/conf"}


def in_login(tmp_path: Path, profile: str, **environment: str) -> str:
    """Return PATH, SLURM_CONF and SLURM_NTASKS in a login whose PATH has only the tools of a script."""
    for tool in ("bash", "env", "sed", "sh", "tail"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or tool)
    (tmp_path / ".profile").write_text(profile)
    usual = {"HOME": str(tmp_path), "PATH": str(tmp_path), "SHELL": f"{tmp_path}/bash"}
    script = f'{CLEAN_LOGIN}echo "${{PATH##*:}} $SLURM_CONF $SLURM_NTASKS"'
    done = subprocess.run(
        ["/bin/sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        env={**usual, **environment},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_login_whose_profile_adds_slurm_to_path_finds_it(tmp_path: Path) -> None:
    profile = (
        "echo Welcome; export SLURM_CONF=/etc/site.conf; PATH=$PATH:/opt/slurm/bin; export PATH\n"
    )
    assert in_login(tmp_path, profile, SLURM_NTASKS="4") == "/opt/slurm/bin /etc/site.conf"


def test_login_with_slurm_in_path_reads_no_profile(tmp_path: Path) -> None:
    (tmp_path / "srun").touch(mode=0o755)
    found = in_login(tmp_path, "PATH=$PATH:/opt/slurm/bin\n", SLURM_CONF="/conf", SLURM_NTASKS="4")
    assert found == f"{tmp_path} /conf"


@pytest.mark.parametrize("profile", ["exit 3\n", "exec false\n", "echo 'no path'; exit\n"])
def test_login_whose_profile_fails_keeps_its_path(tmp_path: Path, profile: str) -> None:
    assert in_login(tmp_path, profile) == str(tmp_path)


def test_kept_for_ranks_has_what_srun_must_not_read() -> None:
    assert kept_for_ranks(BATCH) == ["SLURM_CPUS_PER_TASK=8", "SLURM_JOB_NAME=exp"]
    assert kept_for_ranks({}) == []


def test_job_environment_has_the_job_but_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in BATCH.items():
        monkeypatch.setenv(name, value)
    inherited = job_environment([], {"SLURM_GIVEN": "by the user"})
    assert {name: value for name, value in inherited.items() if name.startswith("SLURM_")} == {
        "SLURM_JOB_ID": "5",
        "SLURM_JOBID": "5",
        "SLURM_CONF": "/etc/slurm/slurm.conf",
        "SLURM_ARRAY_TASK_ID": "3",
        "SLURM_JOB_NAME": "exp",
        "SLURM_CPUS_PER_TASK": "8",
        "SLURM_GIVEN": "by the user",
    }
    assert "PMI_RANK" not in inherited


@pytest.mark.filterwarnings("ignore:The `srun` command is available")
def test_lightning_sees_no_slurm_in_the_environment_of_a_rank(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environments = pytest.importorskip("lightning.fabric.plugins.environments")
    for name, value in BATCH.items():
        monkeypatch.setenv(name, value)
    assert environments.SLURMEnvironment.detect()  # what the variables would have done
    for name in BATCH.keys() - job_environment([], {}).keys():
        monkeypatch.delenv(name)
    assert not environments.SLURMEnvironment.detect()
