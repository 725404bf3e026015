"""A run with a lease ends by itself without contact from a controller; one without a lease does not."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest

from orchestrator.node import lease
from orchestrator.node.lease import Lease

from .conftest import AgentProcess, last_status, rank_records, text_of

SLEEP = ["sleep", "1000"]


def heard(agent: AgentProcess) -> bool:
    answer: dict[str, bool] = agent.ask("heard", run=agent.run, node="node0")["ok"]
    return answer["renewed"]


def test_run_without_contact_stops_after_its_lease(agent: AgentProcess) -> None:
    began = time.monotonic()
    assert agent.start(SLEEP, lease=1.0)["ok"] == {"problem": None}
    messages = agent.follow()
    assert 1.0 <= time.monotonic() - began < 10.0
    status = last_status(messages)
    assert status["stopped"] == "lease-expired"
    assert status["stopped_detail"] == {"seconds": 1}
    assert (status["state"], status["left"]) == ("ended", [])
    assert rank_records(messages)[0]["signal"] == 15


def test_renewed_lease_keeps_the_run_alive(agent: AgentProcess) -> None:
    began = time.monotonic()
    agent.start(["sleep", "2"], lease=0.8)
    while time.monotonic() < began + 1.8:
        assert heard(agent)
        time.sleep(0.2)  # the interval of a controller
    status = last_status(agent.follow())
    assert (status["state"], status["stopped"]) == ("ended", None)


def test_expired_lease_gives_ranks_the_grace_of_the_start(agent: AgentProcess) -> None:
    stubborn = "trap '' TERM; while :; do sleep 0.05; done"
    agent.start(["/bin/sh", "-c", stubborn], lease=0.2, grace=0.2)
    began = time.monotonic()
    assert rank_records(agent.follow())[0]["signal"] == 9
    assert time.monotonic() - began < 2.9  # the default is 3 seconds


def test_heard_of_run_without_lease_renews_nothing(agent: AgentProcess) -> None:
    agent.start(["true"], lease=None)
    agent.follow()
    assert not heard(agent)
    assert not (agent.directory / "heard").exists()


def test_heard_of_unknown_run_renews_nothing(agent: AgentProcess) -> None:
    assert not heard(agent)
    assert not agent.directory.exists()


def test_new_lease_has_its_full_time(tmp_path: Path) -> None:
    new = Lease(str(tmp_path), 100.0)
    new.begin()
    assert 99 < new.left() <= 100
    assert lease.renew(str(tmp_path))


@pytest.mark.parametrize(
    "data", [b"", b"123", b"\xff" * 8, b"\0" * 8, struct.pack("<d", 1e15)], ids=repr
)
def test_invalid_lease_file_renews_nothing(tmp_path: Path, data: bytes) -> None:
    new = Lease(str(tmp_path), 0.0)
    new.begin()
    (tmp_path / "heard").write_bytes(data)
    assert new.left() == 0.0


def test_lease_with_removed_file_is_restored(tmp_path: Path) -> None:
    new = Lease(str(tmp_path), 100.0)
    new.begin()
    (tmp_path / "heard").unlink()
    assert not lease.renew(str(tmp_path))
    new.restore()
    assert lease.renew(str(tmp_path))


def test_output_of_expired_run_is_complete(agent: AgentProcess) -> None:
    agent.start(["/bin/sh", "-c", "trap 'echo saved; exit' TERM; sleep 1000 & wait"], lease=0.3)
    assert text_of(agent.follow(), "attempt-0/rank-0.out") == b"saved\n"
