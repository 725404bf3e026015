"""Killing one rank, and no other process, so that its launcher starts all ranks again."""

from __future__ import annotations

import signal
from typing import Any

from tests.node.conftest import AgentProcess, rank_records


def begun(agent: AgentProcess) -> dict[str, Any]:
    """Start a rank and return its record."""
    agent.start(["/bin/sh", "-c", "echo up; exec sleep 1000"])
    messages = agent.follow(until=lambda message: message[1] == b"up\n")
    record: dict[str, Any] = rank_records(messages)[0]
    return record


def restart(agent: AgentProcess, pid: int, rank: int = 0) -> dict[str, Any]:
    answer = agent.ask("restart_rank", run=agent.run, node="node0", attempt=0, rank=rank, pid=pid)
    found: dict[str, Any] = answer["ok"]
    return found


def test_restart_rank_kills_the_rank(agent: AgentProcess) -> None:
    pid = begun(agent)["pid"]
    assert restart(agent, pid) == {"ended": True}
    assert rank_records(agent.follow())[0]["signal"] == signal.SIGKILL
    assert restart(agent, pid) == {"ended": False}


def test_restart_rank_with_another_pid_or_rank_kills_nothing(agent: AgentProcess) -> None:
    pid = begun(agent)["pid"]
    assert restart(agent, pid + 1) == {"ended": False}
    assert restart(agent, pid, rank=1) == {"ended": False}
    assert len(agent.left()) == 1
    agent.stop(grace=0)
    agent.follow()


def test_restart_rank_of_unknown_run_kills_nothing(agent: AgentProcess) -> None:
    assert restart(agent, 1) == {"ended": False}
