"""A small collective between real hosts: it works, names the slow or faulty node, and leaves nothing.

The hosts call themselves 127.0.1.1 and have the same docker0: gloo needs orch's environment.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from labkit.lab import Lab

from .orch import ORCH, orch, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.torch]

MIB = 1 << 20


def collective(lab: Lab, *words: str, inventory: Path | None = None) -> dict[str, Any]:
    """Run the check; return orch's report, with the exit code as "code"."""
    where = ("-i", inventory or lab.inventory, "--only", "coll.gloo", "--output", "json")
    before = folders(lab)
    done = orch(lab, "preflight", *where, *words)
    assert done.stdout, done.stderr
    assert (processes(lab), folders(lab)) == ([], before)
    return {**json.loads(done.stdout), "code": done.returncode}


def processes(lab: Lab) -> list[tuple[str, str]]:
    """Return (node, command) of every process of a trial."""
    return [
        (node, " ".join(argv))
        for node in lab.nodes
        for _, argv, environ in lab.processes(node)
        if b"\0ORCH_RUN=preflight" in b"\0" + environ
    ]


def folders(lab: Lab) -> set[Path]:
    """What a trial could leave on the nodes: its folder, and torchrun's log folder."""
    return {
        path
        for node in lab.nodes
        for pattern in ("home/.local/state/orch/runs/preflight*", "tmp/torchelastic_*")
        for path in lab.files(node).glob(pattern)
    }


def brief(report: dict[str, Any]) -> list[tuple[str, list[str]]]:
    return [(finding["status"], finding["nodes"]) for finding in report["checks"]]


@contextmanager
def slowed(lab: Lab, node: str) -> Iterator[None]:
    """A node whose link sends 100 Mb/s."""
    qdisc = ["dev", "eth0", "root"]
    tbf = ["tbf", "rate", "100mbit", "burst", "64kb", "latency", "100ms"]
    assert lab.run(["tc", "qdisc", "add", *qdisc, *tbf], node=node).returncode == 0
    yield
    assert lab.run(["tc", "qdisc", "del", *qdisc], node=node).returncode == 0


@pytest.mark.parametrize("launcher", ["torchrun", "fabric", "python"])
def test_all_reduce_works_under_any_launcher(lab3: Lab, launcher: str) -> None:
    report = collective(lab3, "--launcher", launcher, "--nodes", "node[0-1]")
    assert report["code"] == 0
    assert brief(report) == [("pass", ["node0", "node1"])]
    (finding,) = report["checks"]
    assert "the sum is right" in finding["message"]
    sizes = finding["data"]["sizes"]
    assert sizes[0]["bytes"] == MIB
    for size in sizes:
        assert size["algbw_p10"] <= size["algbw"] == size["bytes"] / size["seconds"]
        assert 1e6 < size["busbw"] < 1e11
    (pair,) = finding["data"]["pairs"]
    assert pair["nodes"] == ["node0", "node1"]
    assert 1e6 < pair["algbw"] < 1e11


def test_host_with_a_slow_link_is_named(lab3: Lab) -> None:
    with slowed(lab3, "node2"):
        report = collective(lab3, "--launcher", "direct")
    assert report["code"] == 1
    assert brief(report) == [("fail", ["node2"]), ("pass", ["node0", "node1"])]
    slow, others = report["checks"]
    assert "is slow" in slow["message"]
    assert slow["remedy"]["commands"][0] == "ethtool eth0"
    assert slow["data"]["algbw"] < 100e6 / 8 * 1.5
    rates = {frozenset(pair["nodes"]): pair["algbw"] for pair in others["data"]["pairs"]}
    assert set(rates) == {frozenset(pair) for pair in combinations(lab3.nodes, 2)}
    assert rates[frozenset({"node0", "node1"})] > 3 * slow["data"]["algbw"]


def test_host_with_a_wrong_interface_is_named_and_not_its_peers(lab3: Lab, tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yaml"
    text = lab3.inventory.read_text()
    wrong = "name: node1, env: {GLOO_SOCKET_IFNAME: nope0}"
    inventory.write_text(text.replace("name: node1", wrong))
    report = collective(lab3, "--launcher", "direct", inventory=inventory)
    assert report["code"] == 1
    assert brief(report) == [("fail", ["node1"])]
    (finding,) = report["checks"]
    assert "Unable to find address for: nope0" in finding["message"]
    assert "nic.pick" in finding["remedy"]["text"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_killed_preflight_leaves_nothing(lab3: Lab, number: signal.Signals) -> None:
    before = folders(lab3)
    process = lab3.popen(
        [*ORCH, "preflight", "-i", str(lab3.inventory), "--only", "coll.gloo"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    # Every host runs its launcher, and that runs its rank.
    wait_until(
        lambda: (
            {node for node, words in processes(lab3) if " -u all_reduce.py" in words}
            == set(lab3.nodes)
        )
    )
    process.send_signal(number)
    assert process.wait(30) == (130 if number is signal.SIGINT else -number)
    wait_until(lambda: (processes(lab3), folders(lab3)) == ([], before))
