"""Options of a launch on nodes of Slurm, and what happens to the job if the launch is cancelled."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from orchestrator import alaunch
from orchestrator.errors import UsageError

PENDING = Path(__file__).parents[1] / "recorded" / "slurm" / "pending-priority.txt"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs in place of Slurm's, whose job 7 waits forever; each adds its arguments to `asked`."""
    bodies = {
        "sbatch": "echo 7",
        "scancel": "exit 0",
        "scontrol": f"cat {PENDING}",
        "squeue": f"echo 7 | tee {tmp_path}/waits",
    }
    for name, body in bodies.items():
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/asked\n{body}\n')
        (tmp_path / name).chmod(0o755)
    (tmp_path / "train.py").write_text("print('hello')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slurm_login": "me@login"}, "--slurm-login goes with --slurm"),
        ({"slurm": "-N2", "local": 2}, "--slurm and --local exclude each other"),
        ({"slurm": "-N2", "transport": "ssh"}, "--slurm and --transport exclude each other"),
        ({"slurm": "-N2", "accept_new": True}, "only --slurm-login has a host key"),
        ({"slurm": "-N2", "slurm_login": "a[1-2]"}, "--slurm-login: login is one host"),
        ({"slurm": "-N2", "slurm_login": "-oProxyCommand=id"}, "--slurm-login: login is a host"),
        ({"slurm": "-N1 : -N2"}, "heterogeneous"),
    ],
)
async def test_launch_with_invalid_options_submits_nothing(
    programs: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        await alaunch("train.py", **options)
    assert not (programs / "asked").exists()


async def test_alaunch_cancelled_in_the_queue_gives_the_job_back(programs: Path) -> None:
    os.mkfifo(programs / "waits")
    launching = asyncio.create_task(alaunch("train.py", slurm="-N2"))
    assert await asyncio.to_thread((programs / "waits").read_text) == "7\n"
    launching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await launching
    assert (programs / "asked").read_text().splitlines()[-1] == "scancel --quiet 7"
