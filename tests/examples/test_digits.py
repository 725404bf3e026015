"""The examples as a user runs them: two ranks on loopback, under each launcher they name."""

from __future__ import annotations

import importlib
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch

EXAMPLES = Path(__file__).parents[2] / "examples"
TORCHRUN = ("torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1")
FABRIC_RUN = ("lightning.fabric.cli", "--accelerator=cpu", "--devices=2")
PATIENCE = 120  # seconds; a run takes about 6


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def run(script: str, *args: str, launcher: tuple[str, ...]) -> list[str]:
    """The lines that the script prints; it must end with exit code 0."""
    if launcher:
        flag = "--main-port" if launcher is FABRIC_RUN else "--master-port"
        launcher = ("-m", *launcher, f"{flag}={free_port()}")
    process = subprocess.Popen(
        [sys.executable, *launcher, str(EXAMPLES / script), *args],
        env={
            "HOME": os.environ["HOME"],
            "CUDA_VISIBLE_DEVICES": "",
            "GLOO_SOCKET_IFNAME": "lo",
            "OMP_NUM_THREADS": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        output, errors = process.communicate(timeout=PATIENCE)
    finally:
        if process.poll() is None:  # SIGTERM, which a launcher passes on; SIGKILL would orphan
            process.terminate()
            process.communicate()
    assert process.returncode == 0, errors
    return output.splitlines()


def accuracy(lines: list[str], *, world_size: int = 2) -> float:
    """The per cent in the last line."""
    line = rf"accuracy ([\d.]+) % on 360 held-out digits \(world size {world_size}\)"
    found = re.fullmatch(line, lines[-1])
    assert found, lines
    return float(found[1])


@pytest.mark.parametrize(
    ("script", "launcher"),
    [
        ("digits_ddp.py", TORCHRUN),
        pytest.param(
            "digits_fabric.py",
            FABRIC_RUN,
            marks=pytest.mark.skipif(
                os.environ.get("ORCH_SCRIPTS") != "all", reason="one of two: ORCH_SCRIPTS=all"
            ),
        ),
    ],
)
def test_an_interrupted_run_ends_where_an_unbroken_one_does(
    script: str, launcher: tuple[str, ...], tmp_path: Path
) -> None:
    """Also when the launcher has changed in between."""
    unbroken = run(script, "--epochs=4", launcher=launcher)
    assert accuracy(unbroken) > 95

    checkpoint = tmp_path / "made on demand" / "digits.pt"
    begun = run(script, "--epochs=1", f"--checkpoint={checkpoint}", launcher=TORCHRUN)
    assert len(begun) == 2
    assert [path.name for path in checkpoint.parent.iterdir()] == ["digits.pt"]

    resumed = run(script, "--epochs=4", f"--checkpoint={checkpoint}", launcher=launcher)
    assert resumed == [f"resuming after epoch 1 from {checkpoint}", *unbroken[1:]]


def test_without_a_launcher_one_process_trains_alone() -> None:
    assert accuracy(run("digits_ddp.py", "--epochs=4", launcher=()), world_size=1) > 95


def test_every_held_out_digit_counts_once_however_many_ranks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    digits, ddp = importlib.import_module("digits"), importlib.import_module("digits_ddp")
    _, held_out = digits.load()
    monkeypatch.setattr(ddp, "summed", lambda *values: values)  # this rank's own counts
    monkeypatch.setattr(ddp.dist, "get_world_size", lambda: 7)

    counts = []
    for rank in range(7):
        monkeypatch.setattr(ddp.dist, "get_rank", lambda rank=rank: rank)
        counts.append(ddp.accuracy(digits.network(), held_out, "cpu")[1])

    assert sum(counts) == 360
    assert max(counts) - min(counts) == 1
