"""Nodes that are unreachable for all, or only for the controller, and nodes without any controller."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from labkit.lab import Lab

from .orch import (
    OBEYING,
    Attach,
    Launch,
    controllers,
    detached,
    order_to_leave,
    processes_of_runs,
    record,
    run_name,
    unlike,
    wait_for_copies,
    wait_for_end,
    wait_until,
    write,
)

pytestmark = pytest.mark.lab

# How soon a lost node is detected, and how soon orch reconnects.
QUICK = ("--launcher", "direct", "--node-timeout", "3", "--connect-timeout", "2")


def cut(lab: Lab, *nodes: str) -> None:
    """Drop all packets from the controller to `nodes`; they still reach each other."""
    addresses = ", ".join(lab.address(node) for node in nodes)
    rule = f"ip daddr {{ {addresses} }} drop"
    rules = f"table inet cut {{ chain out {{ type filter hook output priority 0; {rule}; }}; }}\n"
    done = lab.run(["nft", "-f", "-"], input=rules)
    assert done.returncode == 0, done.stderr


def reconnect(lab: Lab) -> None:
    assert lab.run(["nft", "delete", "table", "inet", "cut"]).returncode == 0


def recorded(lab: Lab, run: str, kind: str) -> list[dict[str, Any]]:
    """Return the events of this kind that the run's controllers recorded."""
    log = lab.home / ".local/state/orch/runs" / run / "events.jsonl"
    events = [json.loads(line) for line in log.read_text().splitlines()]
    return [event for event in events if event["event"] == kind]


def test_vanished_node_fails_the_run_and_the_others_are_stopped(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = make_lab(3)
    script = write(tmp_path / "job", "obey.py", OBEYING)
    with Launch(lab, *QUICK, script) as running:
        running.wait_for_lines(1, "r0 node0 │ line 5")
        running.wait_for_lines(1, "r1 node1 │ line 5")
        running.wait_for_lines(1, "r2 node2 │ line 5")
        lab.vanish("node1")
        assert running.end(90) == 1
    ended = record(lab, run_name(running.err))
    assert "node1 could not be reached for" in ended["summary"]
    assert ended["missing"] == ["node1"]
    assert ended["summary"] in " ".join(running.err.split())
    assert processes_of_runs(lab) == []


def test_ranks_of_a_lost_node_are_ended_when_it_returns(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = make_lab(2)
    script = write(tmp_path / "job", "obey.py", OBEYING)
    run = detached(lab, *QUICK, script)
    wait_for_copies(lab, run, 2, "line 5\n")
    link = ["ip", "link", "set", "eth0"]
    assert lab.run([*link, "down"], node="node1").returncode == 0
    ended = wait_for_end(lab, run, 90)
    assert "node1 could not be reached for" in ended["summary"]
    assert ended["missing"] == ["node1"]
    assert {node for node, _ in processes_of_runs(lab)} == {"node1"}
    assert lab.run([*link, "up"], node="node1").returncode == 0
    lab.run(["orch", "logs", run])
    wait_until(lambda: processes_of_runs(lab) == [], 40)
    wait_until(lambda: record(lab, run)["missing"] == [], 40)
    assert unlike(lab, run) == []


def test_node_that_only_the_controller_lost_keeps_running(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = make_lab(3)
    script = write(tmp_path / "job", "obey.py", OBEYING)
    run = detached(lab, *QUICK, script)
    wait_for_copies(lab, run, 3, "line 5\n")
    cut(lab, "node1")
    wait_until(lambda: recorded(lab, run, "Warned") != [], 60)
    time.sleep(8)  # more than two further time-outs, during which nothing must happen
    (warning,) = recorded(lab, run, "Warned")
    assert "node1 cannot be reached from here, but node" in warning["message"]
    assert len(recorded(lab, run, "NodeLost")) == 1
    assert record(lab, run)["state"] == "running"
    reconnect(lab)
    wait_until(lambda: recorded(lab, run, "NodeBack") != [], 60)
    order_to_leave(lab, run, 0)
    assert wait_for_end(lab, run)["exit_code"] == 0
    assert unlike(lab, run) == []


def test_run_continues_while_no_node_is_reachable(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = make_lab(2)
    script = write(tmp_path / "job", "obey.py", OBEYING)
    run = detached(lab, *QUICK, script)
    wait_for_copies(lab, run, 2, "line 5\n")
    cut(lab, *lab.nodes)
    wait_until(lambda: len(recorded(lab, run, "NodeLost")) == 2, 60)
    time.sleep(8)  # more than two time-outs, during which nothing must happen
    assert recorded(lab, run, "Stopping") == []
    assert recorded(lab, run, "Warned") == []
    assert record(lab, run)["state"] == "running"
    reconnect(lab)
    wait_until(lambda: len(recorded(lab, run, "NodeBack")) == 2, 60)
    order_to_leave(lab, run, 0)
    assert wait_for_end(lab, run)["exit_code"] == 0
    assert unlike(lab, run) == []


def test_lease_ends_a_run_without_a_controller(lab3: Lab, tmp_path: Path) -> None:
    # On each node one rank exits on SIGTERM and one ignores it.
    source = OBEYING.replace("signal.signal(", "os.environ['LOCAL_RANK'] == '0' and signal.signal(")
    deaf = source + "\n"
    deaf = deaf.replace("def obey", "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ndef obey")
    script = write(tmp_path / "job", "obey.py", deaf)
    words = ("--launcher", "direct", "--nproc", "2", "--grace", "1")
    run = detached(lab3, *words, "--lease", "3", script)
    other = detached(lab3, *words, script)
    wait_for_copies(lab3, run, 6, "line 500\n", 60)  # more than three leases
    assert record(lab3, run)["state"] == "running"
    for name in (run, other):
        (controller,) = controllers(lab3, name)
        os.kill(controller, signal.SIGKILL)
    wait_until(lambda: processes_of_runs(lab3, run) == [], 30)
    for node in lab3.nodes:
        folder = lab3.files(node) / "home/.local/state/orch/runs" / run / node
        wait_until(lambda: json.loads((folder / "status.json").read_text())["state"] == "ended")  # noqa: B023
        status = json.loads((folder / "status.json").read_text())
        assert status["stopped"] == "lease-expired"
        ends = [path.read_text().endswith("asked to stop\n") for path in folder.glob("*/*.out")]
        assert sorted(ends) == [False, True]
    # Without a lease it keeps running.
    wait_until(lambda: controllers(lab3, other) == [])
    ranks = [argv for _, argv in processes_of_runs(lab3, other) if argv[-1].endswith("obey.py")]
    assert len(ranks) == 6
    # A command that reads the run now reports why it ended.
    with Attach(lab3, run) as looking:
        assert looking.end() == 1
        assert "no contact with a controller for 3 s" in looking.err
    with Attach(lab3, other) as looking:
        looking.wait_for_lines(1, "│ line")
        assert looking.interrupt() == 130
    assert processes_of_runs(lab3, other) == []
