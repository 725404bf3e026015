"""Options of `--slurm`, and the job that holds the nodes, with programs in place of Slurm's."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from orchestrator.errors import LaunchError, UsageError
from orchestrator.slurm import allocation
from orchestrator.slurm.allocation import (
    _describe,
    _holding_script,
    allocate,
    read_options,
)
from orchestrator.slurm.commands import LocalCommands
from orchestrator.slurm.job import SlurmJob

HERE = LocalCommands()
RUNNING = Path(__file__).parents[1] / "recorded" / "slurm" / "running.txt"
PENDING = RUNNING.with_name("pending-priority.txt")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that come first in PATH; each adds its arguments to `asked`."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for name in ("sbatch", "scancel", "scontrol", "squeue"):
        install(tmp_path, name, "exit 0")
    return tmp_path


def install(folder: Path, name: str, body: str) -> None:
    program = folder / name
    program.write_text(f'#!/bin/sh\necho {name} "$@" >> {folder}/asked\n{body}\n')
    program.chmod(0o755)


def asked(folder: Path, name: str) -> list[str]:
    lines = (folder / "asked").read_text().splitlines()
    return [line for line in lines if line.split()[0] == name]


def test_read_options_splits_as_a_shell_does() -> None:
    words = read_options("-p gpu --nodes=4 --comment 'two words' --wait-all-nodes=1")
    assert words == ["-p", "gpu", "--nodes=4", "--comment", "two words", "--wait-all-nodes=1"]


@pytest.mark.parametrize(
    "text",
    [
        "--array=1-4",
        "--arr 1-4",
        "-a1-4",
        "-W",
        "--wait",
        "--wrap=id",
        "--test-only",
        "--requeue",
    ],
)
def test_read_options_refuses_what_is_not_one_job(text: str) -> None:
    with pytest.raises(UsageError, match="is not possible here"):
        read_options(text)


def test_read_options_with_an_open_quote_raises() -> None:
    with pytest.raises(UsageError, match="--slurm: no closing quotation"):
        read_options("-p 'gpu")


def test_read_options_refuses_a_heterogeneous_job() -> None:
    with pytest.raises(UsageError, match="heterogeneous job") as caught:
        read_options("-N1 : -N2 -p gpu")
    assert caught.value.remedy is not None


async def test_allocate_returns_the_job_once_it_runs(programs: Path) -> None:
    install(programs, "sbatch", "echo '5;cluster'")
    install(programs, "scontrol", f"cat {RUNNING}")
    job = await allocate(HERE, ["--nodes=2"], "train", lambda text: None)
    assert (job.id, job.nodes) == ("5", "node[0-1]")
    (line,) = asked(programs, "sbatch")
    assert "--job-name=orch-train --output=/dev/null" in line
    assert asked(programs, "scancel") == []


async def test_allocate_reports_the_queue_and_gives_the_job_back_if_cancelled(
    programs: Path,
) -> None:
    install(programs, "sbatch", "echo 7")
    install(programs, "scontrol", f"cat {PENDING}")
    install(programs, "squeue", "printf '6\\n7\\n'")
    said: asyncio.Queue[str] = asyncio.Queue()
    waiting = asyncio.create_task(allocate(HERE, ["--nodes=2"], "train", said.put_nowait))
    text = await asyncio.wait_for(said.get(), 30)
    assert text == (
        "Slurm job 7 is queued, place 2 of 2 in main, Priority (jobs of higher priority are before it)"
    )
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert asked(programs, "scancel") == ["scancel --quiet 7"]


async def test_allocate_gives_the_job_back_if_cancelled_while_it_is_submitted(
    programs: Path,
) -> None:
    begun = programs / "begun"
    os.mkfifo(begun)
    install(programs, "sbatch", f"echo yes > {begun}; sleep 1; echo 7")
    waiting = asyncio.create_task(allocate(HERE, [], "train", lambda text: None))
    assert await asyncio.to_thread(begun.read_text) == "yes\n"
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert asked(programs, "scancel") == ["scancel --quiet 7"]


async def test_allocate_of_job_that_ends_in_the_queue_raises(programs: Path) -> None:
    install(programs, "sbatch", "echo 5")
    install(programs, "scontrol", f"sed s/RUNNING/CANCELLED/ {RUNNING}")
    with pytest.raises(LaunchError, match="Slurm job 5 was cancelled before the launch"):
        await allocate(HERE, [], "train", lambda text: None)


async def test_allocate_has_the_words_of_sbatch(programs: Path) -> None:
    install(programs, "sbatch", "echo 'sbatch: error: invalid partition: nope' >&2; exit 1")
    with pytest.raises(LaunchError, match=r"^sbatch: invalid partition: nope$"):
        await allocate(HERE, ["-p", "nope"], "train", lambda text: None)


async def test_allocate_gives_up_a_job_that_can_never_start(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allocation, "_QUICK_INTERVAL", 0.01)
    install(programs, "sbatch", "echo 7")
    install(programs, "scontrol", f"sed s/Reason=Priority/Reason=PartitionTimeLimit/ {PENDING}")
    said: list[str] = []
    with pytest.raises(LaunchError, match=r"job 7 would never start.*PartitionTimeLimit") as caught:
        await allocate(HERE, ["--time=9-0"], "train", said.append)
    assert caught.value.remedy is not None
    assert "scontrol show partition main" in caught.value.remedy
    assert len(said) == 1  # the reason is shown at once, and confirmed before the job is given up
    assert asked(programs, "scancel") == ["scancel --quiet 7"]


async def test_allocate_waits_on_if_a_hopeless_reason_passes(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allocation, "_QUICK_INTERVAL", 0.01)
    install(programs, "sbatch", "echo 5")
    body = f"""n=$(grep -c ^scontrol {programs}/asked)
    case $n in
    [12]) sed 's/Reason=Priority/Reason=BadConstraints/; s/JobId=7/JobId=5/' {PENDING} ;;
    3) sed s/JobId=7/JobId=5/ {PENDING} ;;
    [45]) sed 's/Reason=Priority/Reason=BadConstraints/; s/JobId=7/JobId=5/' {PENDING} ;;
    *) cat {RUNNING} ;;
    esac"""
    install(programs, "scontrol", body)
    assert (await allocate(HERE, [], "train", lambda text: None)).state == "RUNNING"


async def test_allocate_asks_again_while_slurm_does_not_answer(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allocation, "_QUICK_INTERVAL", 0.01)
    install(programs, "sbatch", "echo 5")
    refuse = "echo 'scontrol: error: Unable to contact slurm controller' >&2; exit 1"
    first = f"[ $(grep -c ^scontrol {programs}/asked) -gt 3 ]"
    install(programs, "scontrol", f"{first} || {{ {refuse}; }}; cat {RUNNING}")
    said: list[str] = []
    await allocate(HERE, [], "train", said.append)
    assert said == [
        "Slurm job 5: no answer (scontrol: Unable to contact slurm controller); asking again"
    ]
    assert asked(programs, "scancel") == []


async def test_allocate_without_an_answer_for_long_gives_the_job_back(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allocation, "_QUICK_INTERVAL", 0.01)
    monkeypatch.setattr(allocation, "_ANSWER_TIMEOUT", 0.05)
    install(programs, "sbatch", "echo 5")
    install(programs, "scontrol", "echo 'no answer' >&2; exit 1")
    with pytest.raises(LaunchError, match="scontrol: no answer"):
        await allocate(HERE, [], "train", lambda text: None)
    assert asked(programs, "scancel") == ["scancel --quiet 5"]


async def test_allocate_of_job_that_slurm_forgets_raises_at_once(programs: Path) -> None:
    install(programs, "sbatch", "echo 5")
    install(programs, "scontrol", "echo 'Invalid job id specified' >&2; exit 1")
    with pytest.raises(LaunchError, match="Invalid job id"):
        await allocate(HERE, [], "train", lambda text: None)


async def test_release_that_fails_says_what_is_left(programs: Path) -> None:
    install(programs, "scancel", "echo 'scancel: error: no answer' >&2; exit 1")
    with pytest.raises(
        LaunchError, match=r"Slurm job 5 was not cancelled .*: no answer.*by itself"
    ):
        await allocation.release(HERE, "5")


async def test_describe_of_job_whose_nodes_start_says_so() -> None:
    text = await _describe(HERE, SlurmJob("5", "CONFIGURING", "", "node[0-1]"))
    assert text == "Slurm job 5: its nodes are made ready (CONFIGURING)"


def hold(programs: Path, squeue: str) -> subprocess.CompletedProcess[str]:
    """Run the job that holds the nodes, with this squeue; it asks every 10 ms."""
    install(programs, "squeue", squeue)
    script = _holding_script(0.01)
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60)


def test_holding_script_ends_once_the_job_has_no_steps(programs: Path) -> None:
    assert hold(programs, "echo 5.batch; echo 5.extern").returncode == 0
    assert len(asked(programs, "squeue")) == allocation._CHECKS


def test_holding_script_lasts_while_there_are_steps_or_no_answer(programs: Path) -> None:
    """Of the first forty questions every sixth fails, and every other sixth finds a step."""
    count = f"n=$(wc -l < {programs}/asked); [ $n -gt 40 ] && exit 0; "
    body = f"{count} case $((n % 6)) in 0) exit 1 ;; 3) echo 5.batch; echo 5.12 ;; *) echo 5.batch ;; esac"
    assert hold(programs, body).returncode == 0
    assert len(asked(programs, "squeue")) > 40
