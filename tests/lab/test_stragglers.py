"""A rank that is slower than the others in each step is named while the run lives, and no other rank is."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import Launch, latest, orch, wait_until, write
from .test_stalls import events_of

pytestmark = [pytest.mark.lab, pytest.mark.torch]

# DDP with gloo. Rank `who` takes 0.2 s a step more, in the way `how`, until it finds the file /tmp/cured.
TRAIN = """
import os, sys, time
import torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

how, who, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
torch.set_num_threads(1)
dist.init_process_group("gloo")
is_slow = dist.get_rank() == who

def augment():
    end = time.thread_time() + 0.2
    while time.thread_time() < end and not os.path.exists("/tmp/cured"):
        sum(range(1000))

class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 1 << 30

    def __getitem__(self, index):
        if is_slow and how.startswith("loader"):
            time.sleep(0.025)
        return torch.randn(64)

net = DistributedDataParallel(torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.Linear(256, 64)))
optimizer = torch.optim.SGD(net.parameters(), 0.01)
end = time.monotonic() + seconds
workers = 1 if how == "loader-worker" else 0
for step, batch in enumerate(torch.utils.data.DataLoader(Data(), batch_size=8, num_workers=workers)):
    if is_slow and how == "compute":
        augment()
    time.sleep(0.05)
    net(batch).pow(2).mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    if step % 10 == 0:
        print("step", step, flush=True)
        is_over = torch.tensor([float(time.monotonic() > end)])
        dist.broadcast(is_over, 0)
        if is_over.item():
            break
"""

thorough = pytest.mark.skipif(
    os.environ.get("ORCH_STRAGGLERS") != "all", reason="takes long: ORCH_STRAGGLERS=all"
)
CLEAN_RUNS, CLEAN_SECONDS = 40, 30
_PATIENCE = 120.0  # seconds to wait for a name, on a busy machine


def one_thread(launcher: str) -> tuple[str, ...]:
    return ("--preflight", "off", "--launcher", launcher, "--env", "OMP_NUM_THREADS=1")


def named(running: Launch) -> tuple[dict[str, object], float]:
    """Return the only straggler that was reported, and how many seconds after the first step."""
    running.wait_for_lines(1, "step 10")
    began = time.monotonic()
    run = latest(running.lab)
    wait_until(lambda: events_of(running.lab, run, "Straggling") != [], _PATIENCE)
    took = time.monotonic() - began
    (event,) = events_of(running.lab, run, "Straggling")
    return event, took


def test_rank_that_computes_longer_is_named(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "train.py", TRAIN)
    with Launch(lab3, *one_thread("torchrun"), script, "compute", "1", "600") as running:
        event, _ = named(running)
        assert (event["ranks"], event["nodes"], event["kind"]) == ([1], ["node1"], "run")
        assert str(event["place"]).startswith("augment (train.py:")
        run = latest(lab3)
        (shown,) = json.loads(orch(lab3, "status", run, "--output", "json").stdout)["stragglers"]
        assert shown["place"] == event["place"]
        assert "r1 on node1 holds up the others: computes" in orch(lab3, "status", run).stdout
        assert running.interrupt() == 130
    assert running.err.count("holds up the others: computes") == 1


@thorough
def test_straggler_is_taken_back_once_it_is_over(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = make_lab(3)
    script = write(tmp_path / "job", "train.py", TRAIN)
    with Launch(lab, *one_thread("torchrun"), script, "compute", "1", "600") as running:
        named(running)
        (lab.files("node1") / "tmp" / "cured").touch()
        run = latest(lab)
        wait_until(lambda: events_of(lab, run, "CaughtUp") != [], _PATIENCE)
        assert json.loads(orch(lab, "status", run, "--output", "json").stdout)["stragglers"] == []
        assert running.interrupt() == 130
    assert "r1 on node1 no longer holds up the others" in running.err


@thorough
@pytest.mark.parametrize("launcher", ["torchrun", "direct"])
@pytest.mark.parametrize("nproc", [1, 4])
@pytest.mark.parametrize(
    ("how", "kind", "place"),
    [
        ("compute", "run", "augment (train.py:"),
        ("loader", "sleep", "__getitem__ (train.py:"),
        ("loader-worker", "poll", "next(loader) (train.py:"),
    ],
)
def test_slow_rank_is_named(
    make_lab: Callable[..., Lab], tmp_path: Path, launcher: str, nproc: int, how: str, kind: str,
    place: str,
) -> None:  # fmt: skip
    lab = make_lab(4)
    script = write(tmp_path / "job", "train.py", TRAIN)
    who = 3 * nproc - 1  # the last of node2
    words: tuple[str | Path, ...] = (
        *one_thread(launcher),
        "--nproc",
        str(nproc),
        script,
        how,
        str(who),
        "600",
    )
    with Launch(lab, *words) as running:
        event, took = named(running)
        print(f"{how}, {4 * nproc} ranks, {launcher}: after {took:.0f} s: {event}")
        assert (event["ranks"], event["nodes"], event["kind"]) == ([who], ["node2"], kind)
        assert str(event["place"]).startswith(place)
        running.interrupt()


@thorough
@pytest.mark.parametrize("nproc", [1, 4])
def test_node_with_a_slow_network_is_named(
    make_lab: Callable[..., Lab], tmp_path: Path, nproc: int
) -> None:
    lab = make_lab(4)
    script = write(tmp_path / "job", "train.py", TRAIN)
    # 0.2 s a step: less than a megabit of gradients. netem is not in every kernel.
    limit = ["tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "6mbit", "burst", "16kb",
             "latency", "3000ms"]  # fmt: skip
    assert lab.run(limit, node="node1").returncode == 0
    words: tuple[str | Path, ...] = (
        *one_thread("direct"),
        "--nproc",
        str(nproc),
        script,
        "none",
        "-1",
        "600",
    )
    with Launch(lab, *words) as running:
        event, took = named(running)
        print(f"network, {4 * nproc} ranks: after {took:.0f} s: {event}")
        assert (event["nodes"], event["kind"]) == (["node1"], "network")
        running.interrupt()


@thorough
@pytest.mark.timeout(CLEAN_RUNS * (CLEAN_SECONDS + 60))
def test_no_rank_is_named_in_runs_without_a_straggler(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = make_lab(4)
    script = write(tmp_path / "job", "train.py", TRAIN)
    for number in range(CLEAN_RUNS):
        nproc = "4" if number % 4 == 3 else "1"
        launcher = ("direct", "torchrun")[number % 2]
        words: tuple[str | Path, ...] = (
            *one_thread(launcher),
            "--nproc",
            nproc,
            script,
            "none",
            "-1",
            str(CLEAN_SECONDS),
        )
        with Launch(lab, *words) as running:
            assert running.end(300) == 0, running.err
        assert events_of(lab, latest(lab), "Straggling") == []
