"""With any fault of the connection, every byte of the ranks reaches the controller and no rank waits."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import ORCH, wait_until
from .steps import Stepping, Stretch

pytestmark = pytest.mark.lab

# All packets are dropped silently in both directions.
DROP = """
table inet cut {
    chain in { type filter hook input priority 0; tcp dport 22 drop; }
    chain out { type filter hook output priority 0; tcp sport 22 drop; }
}
"""
# Packets are answered with a reset, which the controller notices at once.
RESET = """
table inet cut {
    chain in { type filter hook input priority 0; tcp dport 22 reject with tcp reset; }
}
"""


def test_orch_logs_fetches_the_logs_after_orch_was_killed(lab3: Lab, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    with Stepping(lab3, tmp_path) as job:
        calm = job.run_for(2)
        job.process.kill()
        trouble = job.run_for(5)
        words = [*ORCH, "logs", "-f", "--rank", "1", "--stdout", "--output", "raw", job.run]
        with shown.open("wb") as file, lab3.popen(words, stdout=file) as logs:
            wait_until(lambda: shown.stat().st_size > 0)
            job.enough()
            assert logs.wait(60) == 0
    assert (job.record["state"], job.record["exit_code"]) == ("ended", 0)
    job.assert_every_byte_is_here()
    assert shown.read_bytes() == job.original("node1/attempt-0/rank-1.out").read_bytes()
    job.assert_no_rank_waited(calm, trouble)


def test_cut_new_sshd_and_killed_agent_lose_no_byte(lab3: Lab, tmp_path: Path) -> None:
    with Stepping(lab3, tmp_path) as job:
        calm = job.run_for(2)
        block(lab3, "node0", DROP)
        cut = time.monotonic()
        kill(sessions(lab3, "node1"))
        lab3.restart_sshd("node1")
        kill(agents(lab3, "node2"))
        wait_until(lambda: job.said.count("reconnected") == 2)
        time.sleep(max(0.0, cut + 30 - time.monotonic()))
        unblock(lab3, "node0")
        trouble = Stretch(cut, time.monotonic())
        job.enough()
        assert job.process.wait(120) == 0, job.said
    job.assert_every_byte_is_here()
    job.assert_no_rank_waited(calm, trouble)


def test_20_random_cuts_during_200_mb_lose_no_byte(lab3: Lab, tmp_path: Path) -> None:
    chance = random.Random(20)
    cuts = dict.fromkeys(lab3.nodes, 0)
    with Stepping(lab3, tmp_path, size=50_000) as job:
        calm = job.run_for(2)
        begin = time.monotonic()
        for _ in range(20):
            node = chance.choice(lab3.nodes)
            wait_until_followed(job, node, cuts[node])
            time.sleep(chance.uniform(0, 0.3))
            cut(job, node, chance.choice(("session", "agent", "reset")))
            cuts[node] += 1
        trouble = Stretch(begin, time.monotonic())
        wait_until(lambda: job.written() > 200_000_000, 120)
        job.enough()
        assert job.process.wait(120) == 0, job.said
    for node, count in cuts.items():
        assert job.said.count(f"{node}: reconnected") == count
    job.assert_every_byte_is_here()
    job.assert_no_rank_waited(calm, trouble)


def wait_until_followed(job: Stepping, node: str, cuts: int) -> None:
    """Wait until orch has reconnected after this many cuts, and bytes arrive."""
    wait_until(lambda: job.said.count(f"{node}: reconnected") == cuts)
    had = job.kept(node)
    wait_until(lambda: job.kept(node) > had)


def cut(job: Stepping, node: str, how: str) -> None:
    if how == "session":
        kill(sessions(job.lab, node))
    elif how == "agent":
        kill(agents(job.lab, node))
    else:
        before = job.said.count(f"{node}: the connection broke")
        block(job.lab, node, RESET)
        wait_until(lambda: job.said.count(f"{node}: the connection broke") > before)
        unblock(job.lab, node)


def sessions(lab: Lab, node: str) -> list[int]:
    """The processes of sshd that serve a login."""
    return [
        process.pid
        for process in lab.processes(node)
        if process.argv and process.argv[0].startswith("sshd: root")
    ]


def agents(lab: Lab, node: str) -> list[int]:
    """The agents; supervisors and log writers, forked from one, have the same command line."""
    return [
        process.pid
        for process in lab.processes(node)
        if "serve" in process.argv and not _name(process.pid).startswith("orch-")
    ]


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except FileNotFoundError:
        return ""


def kill(pids: list[int]) -> None:
    assert pids
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it ended together with the previous one


def block(lab: Lab, node: str, rules: str) -> None:
    done = lab.run(["nft", "-f", "-"], node=node, input=rules)
    assert done.returncode == 0, done.stderr


def unblock(lab: Lab, node: str) -> None:
    done = lab.run(["nft", "delete", "table", "inet", "cut"], node=node)
    assert done.returncode == 0, done.stderr
