"""A run is restarted as a whole: after a failed rank, and on a spare after a lost host."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import (
    Launch,
    copies,
    launch,
    orch,
    processes_of_runs,
    record,
    run_name,
    unlike,
    wait_until,
    write,
)
from .soak.faults import give_small_disk, runs_folder

pytestmark = pytest.mark.lab

EXAMPLES = Path(__file__).parents[2] / "examples"
QUICK = ("--node-timeout", "3", "--connect-timeout", "2")

# Fails on rank 1 until attempt N.
FAILING = """
import os, socket, sys
attempt, rank = int(os.environ["ORCH_ATTEMPT"]), int(os.environ["RANK"])
print("attempt", attempt, "port", os.environ["MASTER_PORT"], flush=True)
sys.exit(3 + attempt if rank == 1 and attempt < int(sys.argv[1]) else 0)
"""


def with_spares(lab: Lab, folder: Path, *names: str) -> Path:
    """Return an inventory of the lab's hosts with these as spares."""
    text = lab.inventory.read_text()
    for name in names:
        assert f"{{name: {name}," in text
        text = text.replace(f"{{name: {name},", f"{{name: {name}, spare: true,")
    inventory = folder / "spares.yaml"
    inventory.write_text(text)
    return inventory


@pytest.mark.parametrize(
    "launcher",
    [
        "direct",
        "python",
        pytest.param("torchrun", marks=pytest.mark.torch),
        pytest.param("fabric", marks=pytest.mark.torch),
    ],
)
def test_rank_that_fails_once_is_restarted(lab3: Lab, tmp_path: Path, launcher: str) -> None:
    source = FAILING if launcher != "python" else FAILING.replace('"RANK"', '"NODE_RANK"')
    script = write(tmp_path / "job", "fail.py", source)
    nodes = ("--nodes", "node[0-1]")
    done = launch(lab3, *nodes, "--launcher", launcher, "--restarts", "2", script, "1")
    assert done.returncode == 0, done.stderr
    assert "exited with 3: restarting all ranks, attempt 2 of 3" in done.stderr
    run = run_name(done.stderr)
    assert record(lab3, run)["summary"].endswith("succeeded (attempt 2 of 3)")
    for number, node in enumerate(lab3.nodes[:2]):
        said = [
            (folder / f"rank-{number}.out").read_text()
            for root in (
                copies(lab3, run) / node,
                lab3.files(node) / "home/.local/state/orch/runs" / run / node,
            )
            for folder in sorted(root.glob("attempt-*"))
        ]
        assert [text.split()[:2] for text in said] == [["attempt", "0"], ["attempt", "1"]] * 2
    assert processes_of_runs(lab3) == []


def test_run_whose_attempts_all_fail_has_the_verdict_of_the_last(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "fail.py", FAILING)
    done = launch(
        lab3, "--launcher", "direct", "--main-port", "29777", "--restarts", "2", script, "9"
    )
    assert done.returncode == 5
    assert done.stdout.count("port 29777") == 9  # the requested port is free each time
    ended = record(lab3, run_name(done.stderr))
    assert ended["summary"] == "rank 1 on node1 exited with 5 (attempt 3 of 3)"
    assert [failed["exit_code"] for failed in ended["failed"]] == [3, 4]
    assert processes_of_runs(lab3) == []


def test_lost_host_without_a_spare_ends_the_run(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = make_lab(3)
    inventory = with_spares(lab, tmp_path, "node2")
    script = write(
        tmp_path / "job", "wait.py", "import time\nprint('up', flush=True)\ntime.sleep(600)"
    )
    lab.vanish("node2")  # the spare is lost, too
    words = ("--launcher", "direct", "--restarts", "2", *QUICK, script)
    with Launch(lab, *words, inventory=inventory) as running:
        running.wait_for_lines(2, "up")
        lab.vanish("node1")
        assert running.end(90) == 1
    ended = record(lab, run_name(running.err))
    why = "(attempt 1 of 3); no spare host is left to replace node1"
    assert ended["summary"].endswith(why)
    assert ended["missing"] == ["node1"]
    assert processes_of_runs(lab) == []


def test_attempt_that_cannot_start_ends_the_run_with_the_earlier_failure(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = make_lab(2)
    give_small_disk(lab, "node0")
    script = write(
        tmp_path / "job", "wait.py",
        "import os, sys, time\n"
        "print('up', flush=True)\n"
        "while not (os.environ['RANK'] == '1' and os.path.exists('/tmp/fail')): time.sleep(0.02)\n"
        "print('leaving', flush=True)\n"
        "sys.exit(3)",
    )  # fmt: skip
    words = ("--launcher", "direct", "--restarts", "1", "--preflight", "off", script)
    with Launch(lab, *words) as running:
        running.wait_for_lines(2, "up")
        filler = runs_folder(lab, "node0") / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)):
                pass
        (lab.files("node1") / "tmp/fail").touch()
        assert running.end(90) == 3
    run = run_name(running.err)
    ended = record(lab, run)
    why = "rank 1 on node1 exited with 3 (attempt 1 of 2); attempt 2 could not be started: node0: "
    assert ended["summary"].startswith(why)
    assert ended["missing"] == ["node0", "node1"]  # node1 may have started its rank
    assert processes_of_runs(lab) == []
    filler.unlink()
    assert orch(lab, "logs", run).returncode == 0
    wait_until(lambda: record(lab, run)["missing"] == [])
    assert [name for name in unlike(lab, run) if name.startswith("node1/")] == []


def accuracy(lines: list[str]) -> str:
    """Return the last result on the held-out digits."""
    (found,) = [
        match[1] for line in lines if (match := re.search(r"(accuracy .* on 360 .*)", line))
    ]
    return found


@pytest.mark.torch
def test_training_continues_on_a_spare_from_the_checkpoint(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    """Rank 0's checkpoint is on node0; node1 is lost, node2 is the spare."""
    lab = make_lab(3)
    inventory = with_spares(lab, tmp_path, "node2")
    # One thread per rank: sums in another order may differ.
    launcher = ("--launcher", "direct", "--env", "OMP_NUM_THREADS=1")
    words = (
        *QUICK,
        *launcher,
        "--restarts",
        "2",
        "--sync",
        EXAMPLES,
        EXAMPLES / "digits_ddp.py",
        "--epochs",
        "4",
    )
    undisturbed = launch(lab, *words, inventory=inventory, timeout=180)
    assert undisturbed.returncode == 0, undisturbed.stderr
    with Launch(lab, *words, "--checkpoint", "/tmp/digits.pt", inventory=inventory) as running:
        running.wait_for_lines(1, "epoch 2/4")
        lab.vanish("node1")
        assert running.end(120) == 0, running.err
    assert "node2 replaces node1" in running.err
    resumed = [line for line in running.out if "resuming after epoch" in line]
    assert resumed
    assert resumed[0].startswith("r0 node0")
    assert accuracy(running.out) == accuracy(undisturbed.stdout.splitlines())
    ended = record(lab, run_name(running.err))
    assert [node["host"]["name"] for node in ended["plan"]["nodes"]] == ["node0", "node2"]
    assert [node["host"]["name"] for node in ended["former"]] == ["node1"]
    assert ended["failed"][0]["lost"] == ["node1"]
    assert ended["summary"].endswith("all 2 ranks succeeded (attempt 2 of 3)")
    assert (copies(lab, ended["plan"]["run"]) / "node2/attempt-1").is_dir()
    assert orch(lab, "logs", "--nodes", "node1").returncode == 0  # a node it has left


def test_ranks_of_a_host_that_returns_are_ended(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    """The host was cut off, and does not know that the run continues without it."""
    lab = make_lab(3)
    inventory = with_spares(lab, tmp_path, "node2")
    source = """
import os, sys, time
print("attempt", os.environ["ORCH_ATTEMPT"], "rank", os.environ["RANK"], flush=True)
while not os.path.exists("/tmp/leave"): time.sleep(0.1)
"""
    script = write(tmp_path / "job", "wait.py", source)
    words = ("--launcher", "direct", "--restarts", "1", *QUICK, script)
    link = ["ip", "link", "set", "eth0"]
    with Launch(lab, *words, inventory=inventory) as running:
        running.wait_for_lines(2, "attempt 0")
        assert lab.run([*link, "down"], node="node0").returncode == 0
        running.wait_for_lines(2, "attempt 1")
        assert {node for node, _ in processes_of_runs(lab)} == {"node0", "node1", "node2"}
        assert lab.run([*link, "up"], node="node0").returncode == 0
        wait_until(lambda: {node for node, _ in processes_of_runs(lab)} == {"node1", "node2"}, 40)
        for node in ("node1", "node2"):
            (lab.files(node) / "tmp/leave").touch()
        assert running.end() == 0, running.err
    # The spare replaces the lost node, so it is the main node now.
    ended = record(lab, run_name(running.err))
    assert [node["host"]["name"] for node in ended["plan"]["nodes"]] == ["node2", "node1"]
    assert ended["plan"]["main_address"] == lab.address("node2")
    assert ended["missing"] == []
    status = (
        lab.files("node0")
        / "home/.local/state/orch/runs"
        / ended["plan"]["run"]
        / "node0/status.json"
    )
    assert json.loads(status.read_text())["stopped"] == "node-replaced"
