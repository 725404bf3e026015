"""Calls that share hosts: one a slot at a time, failures for each, cancelling, interrupts."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import orchestrator as orch
from orchestrator.api import executor
from orchestrator.api.executor import Slot
from orchestrator.plan import Facts
from orchestrator.remote.fleet import Fleet

from ..plan.helpers import facts

pytestmark = pytest.mark.cluster

# As in a notebook, or a script that is run: pytest imports this file as a module that no node has.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def calls(local: int = 2, **options: Any) -> orch.Executor:
    return orch.Executor(local=local, preflight="off", **options)


def test_calls_share_the_slots_and_each_has_its_result_or_exception(empty_project: Path) -> None:
    def square(x: int) -> tuple[int, str]:
        if x == 3:
            raise ValueError("three")
        return x * x, os.environ["WORLD_SIZE"]

    with calls() as executor:
        assert executor.slots == 2
        futures = [executor.submit(square, x) for x in (1, 2, 3)]
        assert [future.result(120) for future in futures[:2]] == [(1, "1"), (4, "1")]
        with pytest.raises(ValueError, match="three"):
            futures[2].result(120)
        names = {future.run.name for future in futures if future.run is not None}
        assert names == {run.name for run in orch.runs()} and len(names) == 3
        assert list(executor.map(square, [7])) == [(49, "1")]
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(square, 1)


def test_node_gets_one_call_at_a_time(empty_project: Path) -> None:
    def when() -> tuple[float, float]:
        began = time.time()
        time.sleep(0.3)
        return began, time.time()

    with calls(local=1, per="node") as executor:
        times = sorted(executor.map(lambda _: when(), range(2)))
    assert all(end <= start for (_, end), (start, _) in pairwise(times))


def test_waiting_call_can_be_cancelled(empty_project: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    def wait() -> str:
        while not gate.exists():
            time.sleep(0.05)
        return "done"

    with calls(local=1) as executor:
        first, second, third = (executor.submit(wait) for _ in range(3))
        deadline = time.monotonic() + 60
        while not first.running() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert second.cancel()
        executor.shutdown(wait=False, cancel_futures=True)
        assert third.cancelled()
        gate.touch()
        assert concurrent.futures.wait([first, second, third], 120).not_done == set()
        assert first.result() == "done"


INTERRUPTED = """
import time
import orchestrator as orch

def train(n):
    open(f"began-{n}", "w").close()
    time.sleep(300)

with orch.Executor(local=2, preflight="off", grace=1) as executor:
    futures = [executor.submit(train, n) for n in range(4)]
    print("ready", flush=True)
    try:
        futures[0].result()
    finally:
        print("interrupted", flush=True)
"""


def test_interrupt_stops_running_calls_and_cancels_the_others(empty_project: Path) -> None:
    (empty_project / "sweep.py").write_text(textwrap.dedent(INTERRUPTED))
    process = subprocess.Popen(
        [sys.executable, "sweep.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        runs = orch.runs()
        states = [rank.state for run in runs for node in run.status().nodes for rank in node.ranks]
        if states.count("running") == 2:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert out.split() == ["ready", "interrupted"] and "KeyboardInterrupt" in err
    results = [run.result for run in orch.runs()]
    assert [result.outcome for result in results if result is not None] == ["stopped"] * 2
    assert len(results) == 2


async def test_slots_are_the_gpus_of_all_nodes_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    async def known(fleet: Fleet, emit: object) -> list[Facts]:
        return [facts(host.name, gpus=2, all_gpus=2) for host in fleet.hosts]

    monkeypatch.setattr(executor, "connect_all", known)
    hosts: list[Any] = [
        {"name": "a"}, {"name": "b", "devices": [1]}, {"name": "c", "devices": "cpu:2"}
    ]  # fmt: skip
    found = await executor._find_slots({"hosts": hosts}, "gpu")
    assert [slot.name for slot in found] == ["GPU 0 of a", "GPU 1 of b", "c", "GPU 1 of a", "c"]
    assert [slot.options.get("include") for slot in found] == ["a:0", "b:1", None, "a:1", None]
    assert [slot.options.get("nproc") for slot in found] == [None, None, 1, None, 1]
    whole = await executor._find_slots({"hosts": hosts}, "node")
    assert [(slot.name, slot.options["nproc"]) for slot in whole] == [("a", 1), ("b", 1), ("c", 1)]


def test_call_that_cannot_be_pickled_is_refused_at_once(empty_project: Path) -> None:
    with calls(local=1) as executor, pytest.raises(orch.UsageError, match="cannot be sent"):
        executor.submit(lambda lock: lock, threading.Lock())


def test_slot_that_cannot_be_reached_is_used_no_more(
    empty_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory = empty_project / "hosts.yaml"
    inventory.write_text("hosts: [{name: gone, address: 127.0.0.1, port: 1}]\n")
    gone = Slot("gone", {"hosts": str(inventory), "nodes": "gone", "nproc": 1, "local": None})
    there = Slot("local0", {"local": 1, "nodes": "local0", "nproc": 1})

    async def slots(*_: object) -> list[Slot]:
        return [gone, there]

    monkeypatch.setattr(executor, "_find_slots", slots)
    with orch.Executor(preflight="off") as pool:
        assert list(pool.map(lambda x: x + 1, range(2))) == [1, 2]
        assert pool.slots == 1


def test_calls_fail_if_no_slot_is_left(empty_project: Path) -> None:
    (empty_project / "hosts.yaml").write_text(
        "hosts: [{name: gone, address: 127.0.0.1, port: 1}]\n"
    )
    with orch.Executor("hosts.yaml", per="node") as pool:
        futures = [pool.submit(int, n) for n in range(3)]
        for future in futures:
            with pytest.raises(orch.ConnectError, match="gone"):
                future.result(120)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nproc": 2}, "nproc= is no option of an Executor"),
        ({"per": "rack"}, "per='rack': expected 'gpu' or 'node'"),
    ],
)
def test_wrong_option_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(orch.UsageError, match=message):
        orch.Executor(local=1, **options)
