"""A stalled run: which rank holds it up, and the stack of every rank at any time."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from labkit.lab import Lab

from .orch import (
    Attach,
    Launch,
    controllers,
    detached,
    latest,
    launch,
    orch,
    processes_of_runs,
    record,
    run_name,
    wait_for_copies,
    wait_for_end,
    wait_until,
    write,
)

pytestmark = pytest.mark.lab

# `hold` is called on every rank; it blocks one of them forever.
TRAIN = """
import torch
import torch.distributed as dist
from data import batches

def train():
    dist.init_process_group("gloo")
    for number, batch in enumerate(batches(dist.get_rank())):
        dist.all_reduce(batch)
        if number == 3:
            print("up", flush=True)

train()
"""
DATA = """
import queue, time
import torch

def batches(rank):
    pieces = queue.Queue()
    for number in range(1_000_000):
        if number > 4 and rank == 2:
            pieces.get()  # the thread that fills it has gone
        time.sleep(0.01)
        yield torch.ones(4)
"""
# Ranks that make steady progress.
WORKING = """
import time

def step():
    time.sleep(0.005)

def main():
    print("up", flush=True)
    while True:
        step()

main()
"""


def events_of(lab: Lab, run: str, kind: str) -> list[dict[str, Any]]:
    log = lab.home / ".local/state/orch/runs" / run / "events.jsonl"
    said = [json.loads(line) for line in log.read_text().splitlines()]
    return [event for event in said if event["event"] == kind]


def drop(lab: Lab, node: str, rule: str) -> None:
    """Make `node` drop matching packets from now on."""
    hook = "type filter hook input priority 0"
    rules = f"table inet cut {{\n chain i {{\n {hook}\n {rule} drop\n }}\n}}\n"
    done = lab.run(["nft", "-f", "-"], node=node, input=rules)
    assert done.returncode == 0, done.stderr


@pytest.mark.torch
@pytest.mark.parametrize("launcher", ["torchrun", "direct"])
def test_rank_that_waits_for_its_data_is_named(lab3: Lab, tmp_path: Path, launcher: str) -> None:
    script = write(tmp_path / "job", "train.py", TRAIN)
    write(tmp_path / "job", "data.py", DATA)
    done = launch(lab3, "--launcher", launcher, "--stall", "5", "--on-stall", "stop", script)
    assert done.returncode == 1, done.stderr
    run = run_name(done.stderr)
    (stalled,) = events_of(lab3, run, "Stalled")
    assert stalled["stacks"] == ["r[0-1] all_reduce (train.py:9)", "r2 get (data.py:9)"]
    assert stalled["suspect"] == "r2 get (data.py:9): r[0-1] wait in all_reduce"
    assert 5 <= stalled["seconds"] < 9
    assert record(lab3, run)["summary"] == f"stalled: {stalled['suspect']}"
    assert "r[0-1] all_reduce (train.py:9) · r2 get (data.py:9)" in done.stderr
    assert events_of(lab3, run, "Resumed") == []
    assert processes_of_runs(lab3, run) == []


EXCHANGING = """
import os, socket, time
rank = int(os.environ["RANK"])
where = (os.environ["MASTER_ADDR"], 4321)
if rank == 0:
    server = socket.create_server(("", 4321))
    ends = [server.accept()[0] for _ in range(2)]
else:
    while True:
        try:
            ends = [socket.create_connection(where)]
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
print("up", flush=True)
def exchange():
    for end in ends:
        end.sendall(b"x" * 1000)
    for end in ends:
        got = end.recv(1000, socket.MSG_WAITALL)
while True:
    exchange()
    time.sleep(0.02)
"""


def test_peer_behind_a_new_drop_rule_is_named_with_the_port(make_lab: Any, tmp_path: Path) -> None:
    lab = make_lab(3)
    script = write(tmp_path / "job", "exchange.py", EXCHANGING)
    with Launch(lab, "--launcher", "direct", "--stall", "4", script) as running:
        running.wait_for_lines(3, "up")
        drop(lab, "node0", f"ip saddr {lab.address('node2')} tcp dport 4321")
        run = max((lab.home / ".local/state/orch/runs").iterdir()).name
        wait_until(lambda: events_of(lab, run, "Stalled") != [])
        (stalled,) = events_of(lab, run, "Stalled")
        address = lab.address("node0")
        assert stalled["suspect"].startswith("node2 → node0: packets from port ")
        assert f"to port 4321 of {address} are not acknowledged" in stalled["suspect"]
        assert any(
            each.startswith("r2 node2: ") and f"node0 ({address}:4321)" in each
            for each in stalled["stuck"]
        )
        # It counts as one stall until there is progress.
        assert lab.run(["nft", "delete", "table", "inet", "cut"], node="node0").returncode == 0
        wait_until(lambda: events_of(lab, run, "Resumed") != [], 60)
        assert len(events_of(lab, run, "Stalled")) == 1
        assert running.interrupt() == 130
    assert "progress resumed after" in running.err


CONNECTING = """
import os, socket
print("up", flush=True)
if os.environ["RANK"] != "0":
    socket.create_connection((os.environ["MASTER_ADDR"], 4322))
else:
    server = socket.create_server(("", 4322))
    server.accept()
"""


def test_connection_that_gets_no_answer_is_named_with_its_port(
    make_lab: Any, tmp_path: Path
) -> None:
    lab = make_lab(2)
    drop(lab, "node0", "tcp dport 4322")
    script = write(tmp_path / "job", "connect.py", CONNECTING)
    with Launch(
        lab, "--preflight", "off", "--launcher", "direct", "--stall", "3", script
    ) as running:
        running.wait_for_lines(2, "up")
        run = max((lab.home / ".local/state/orch/runs").iterdir()).name
        wait_until(lambda: events_of(lab, run, "Stalled") != [])
        (stalled,) = events_of(lab, run, "Stalled")
        address = lab.address("node0")
        assert stalled["suspect"].startswith(
            f"node1 → node0: port 4322 of {address} does not answer"
        )
        assert "(SYN_SENT)" in stalled["stuck"][0]
        now = orch(lab, "stacks", run)
        assert (
            now.stdout.splitlines()[0]
            == "r0 accept (connect.py:8) · r1 create_connection (connect.py:5)"
        )
        assert stalled["suspect"] in now.stdout
        status = orch(lab, "status", run)
        assert f"run {run}: stalled" in status.stdout
        with Attach(lab, run) as attached:
            attached.wait_for_lines(2, "up")
            assert attached.interrupt(signal.SIGQUIT) == 0
        assert "no progress for" in attached.err
        assert running.interrupt() == 130


@pytest.mark.parametrize(
    "launcher", ["direct", "python", pytest.param("torchrun", marks=pytest.mark.torch),
                 pytest.param("fabric", marks=pytest.mark.torch)],
)  # fmt: skip
def test_stacks_of_a_progressing_run_under_every_launcher(
    lab3: Lab, tmp_path: Path, launcher: str
) -> None:
    script = write(tmp_path / "job", "work.py", WORKING)
    with Launch(lab3, "--launcher", launcher, "--stall", "2", script) as running:
        running.wait_for_lines(3, "up")
        for _ in range(3):
            done = orch(lab3, "stacks", latest(lab3))
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout == "r[0-2] step (work.py:5)\n"
        full = orch(lab3, "stacks", latest(lab3), "--full", "--rank", "1")
        assert full.stdout.startswith("r1 on node1\n  pid ")
        assert "work.py:12\n" in full.stdout
        one = json.loads(
            orch(lab3, "stacks", latest(lab3), "--nodes", "node2", "--output", "json").stdout
        )
        assert one["stacks"] == ["r2 step (work.py:5)"]
        assert running.interrupt() == 130


NO_STALL = """
import random, time
print("up", flush=True)
def load():
    end = time.monotonic() + 0.02
    while time.monotonic() < end:
        pass
    time.sleep(0.02)
end = time.monotonic() + 9
while time.monotonic() < end:
    load()
"""


def test_busy_run_without_output_has_not_stalled(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "silent.py", NO_STALL)
    done = launch(lab3, "--launcher", "direct", "--stall", "2", "--on-stall", "stop", script)
    assert done.returncode == 0, done.stderr
    assert events_of(lab3, run_name(done.stderr), "Stalled") == []


def test_background_controller_detects_a_stall_and_stops_the_run(lab3: Lab, tmp_path: Path) -> None:
    source = "import time\nprint('up', flush=True)\ntime.sleep(1000)\n"
    script = write(tmp_path / "job", "sleep.py", source)
    run = detached(lab3, "--launcher", "direct", "--stall", "4", "--on-stall", "stop", script)
    wait_for_copies(lab3, run, 3, "up")
    for pid in controllers(lab3, run):  # another controller takes over
        os.kill(pid, signal.SIGKILL)
    assert orch(lab3, "status", run).returncode == 0
    ended = wait_for_end(lab3, run)
    assert ended["exit_code"] == 1
    assert ended["summary"] == "stalled: r[0-2] <module> (sleep.py:3)"


ODD = """
import os, signal, sys, time
how = sys.argv[1]
if "ODD" not in os.environ and how == "isolated" and os.environ["RANK"] == "1":
    os.execve(sys.executable, [sys.executable, "-I", *sys.argv], {**os.environ, "ODD": "1"})
if how == "resets" and os.environ["RANK"] == "1":
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):
            pass
print("up", "sitecustomize" in sys.modules, flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("how", ["isolated", "resets"])
def test_rank_without_a_stack_hook_is_not_signalled(lab3: Lab, tmp_path: Path, how: str) -> None:
    script = write(tmp_path / "job", "odd.py", ODD)
    with Launch(lab3, "--launcher", "direct", script, how) as running:
        running.wait_for_lines(3, "up")
        for _ in range(2):
            done = orch(lab3, "stacks", latest(lab3))
            first, second = done.stdout.strip().split(" · ")
            assert first == "r[0,2] <module> (odd.py:13)"
            assert second.startswith("r1 no stack: it has ")
        assert running.process.poll() is None
        assert running.interrupt() == 130
    assert "was killed" not in running.err


def test_script_keeps_its_own_sitecustomize(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "odd.py", ODD)
    write(tmp_path / "job", "sitecustomize.py", "print('customized', flush=True)\n")
    words = ["--launcher", "direct", "--env", "PYTHONPATH=."]
    with Launch(lab3, *words, script, "plain") as running:
        running.wait_for_lines(3, "up True")
        running.wait_for_lines(3, "customized")
        assert orch(lab3, "stacks", latest(lab3)).stdout == "r[0-2] <module> (odd.py:13)\n"
        assert running.interrupt() == 130


def test_stacks_of_an_ended_run_are_refused(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "end.py", "print('done')\n")
    done = launch(lab3, "--launcher", "direct", script)
    done = orch(lab3, "stacks", run_name(done.stderr))
    assert done.returncode == 2
    assert "has ended: all 3 ranks succeeded" in done.stderr
