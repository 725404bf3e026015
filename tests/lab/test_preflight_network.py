"""Interfaces, MTU and bandwidth on real hosts: the right node is named, and the remedy works."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from labkit import life
from labkit.lab import Lab

from .orch import orch

pytestmark = pytest.mark.lab

Finding = dict[str, Any]
EVERYBODY = ["node0", "node1", "node2", "node3"]


@pytest.fixture(scope="module")
def lab(_labs: Any) -> Iterator[Lab]:
    """Four hosts with the same docker0; two have a second network."""
    lab: Lab = _labs.up(4, decoy=True, second_net=["node0", "node2"])
    yield lab
    life.down(lab.name)


@pytest.fixture
def undo() -> Iterator[ExitStack]:
    """Cleanup at the end of the test, in reverse order."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def small_packets(lab: Lab, undo: ExitStack) -> None:
    """Make the hosts segment what they send in software, as a network card would."""
    for node in lab.nodes:
        run(lab, node, "ip link set dev eth0 gso_max_segs 1")
        undo.callback(run, lab, node, "ip link set dev eth0 gso_max_segs 65535")


def run(lab: Lab, node: str, line: str) -> None:
    done = lab.run(["sh", "-c", line], node=node)
    assert done.returncode == 0, (line, done.stderr)


def preflight(lab: Lab, check: str) -> list[Finding]:
    done = orch(lab, "preflight", "-i", lab.inventory, "--only", check, "--output", "json")
    assert done.returncode in (0, 1, 125), done.stderr
    findings: list[Finding] = json.loads(done.stdout)["checks"]
    return findings


def brief(findings: list[Finding]) -> list[tuple[str, list[str]]]:
    return [(finding["status"], finding["nodes"]) for finding in findings]


def fixed(lab: Lab, check: str, finding: Finding) -> list[tuple[str, list[str]]]:
    """Apply the remedy on the node that it names; return the result of the check after that."""
    remedy = finding["remedy"]
    assert remedy["commands"]
    for node in remedy["nodes"]:
        for line in remedy["commands"]:
            run(lab, node, line)
    return brief(preflight(lab, check))


def test_shared_network_is_chosen_and_not_a_decoy(lab: Lab, undo: ExitStack) -> None:
    run(lab, "node1", "ip link add ib0 type veth peer name far0 && ip link set far0 up")
    undo.callback(run, lab, "node1", "ip link del ib0")
    run(lab, "node1", "ip address add 198.19.99.1/24 dev ib0 && ip link set ib0 up")
    alone, others = sorted(preflight(lab, "nic.pick"), key=lambda found: len(found["nodes"]))
    assert brief([alone, others]) == [("pass", ["node1"]), ("pass", ["node0", "node2", "node3"])]
    assert others["message"] == "eth0 in 198.18.0.0/24"
    assert alone["message"].startswith("eth0 in 198.18.0.0/24, set for NCCL by orch")
    assert alone["data"]["node1"]["nccl_alone"] == "ib0"
    assert others["data"]["node2"]["environment"] == {
        "NCCL_SOCKET_IFNAME": "=eth0",
        "GLOO_SOCKET_IFNAME": "eth0",
    }


def test_remedy_for_two_interfaces_in_one_subnet_works(lab: Lab, undo: ExitStack) -> None:
    run(lab, "node2", "ip addr add 198.18.0.200/24 dev eth1 noprefixroute")
    undo.callback(run, lab, "node2", "ip addr del 198.18.0.200/24 dev eth1")
    [twins, _] = preflight(lab, "nic.samesubnet")
    assert brief([twins]) == [("warn", ["node2"])]
    assert "eth0 and eth1 are both in 198.18.0.0/24" in twins["message"]
    assert {status for status, _ in fixed(lab, "nic.samesubnet", twins)} == {"pass"}


def test_remedy_for_a_different_mtu_works(lab: Lab) -> None:
    run(lab, "node3", "ip link set dev eth0 mtu 1400")
    [odd, _] = preflight(lab, "nic.mtu")
    assert brief([odd]) == [("warn", ["node3"])]
    assert odd["message"] == "eth0 has MTU 1400, the others 1500"
    assert fixed(lab, "nic.mtu", odd) == [("pass", EVERYBODY)]


def test_black_hole_is_found_with_its_size_and_fixed(
    lab: Lab, small_packets: None, undo: ExitStack
) -> None:
    # The switch's port to node2 silently drops larger packets.
    run(lab, "ctl", "ip link set dev node2 mtu 1400")
    undo.callback(run, lab, "ctl", "ip link set dev node2 mtu 1500")
    [hole, fine] = preflight(lab, "net.mtupath")
    assert brief([hole, fine]) == [("fail", ["node2"]), ("pass", ["node0", "node1", "node3"])]
    assert "more than 1400 bytes to and from any other node" in hole["message"]
    undo.callback(run, lab, "node2", "ip link set dev eth0 mtu 1500")
    assert fixed(lab, "net.mtupath", hole) == [("pass", EVERYBODY)]


def drop(lab: Lab, undo: ExitStack, node: str, rule: str) -> None:
    """Make `node` drop packets from the other nodes that match a rule."""
    table = f"""table inet trap {{
      chain in {{ type filter hook input priority 0; ip saddr != 198.18.0.1 {rule} drop; }}
    }}"""
    done = lab.run(["nft", "-f", "-"], node=node, input=table)
    assert done.returncode == 0, done.stderr
    undo.callback(run, lab, node, "nft delete table inet trap")


def test_remedy_for_a_black_hole_in_one_direction_works(
    lab: Lab, small_packets: None, undo: ExitStack
) -> None:
    drop(lab, undo, "node1", "meta length > 1337")
    [hole, _] = preflight(lab, "net.mtupath")
    assert brief([hole]) == [("fail", ["node1"])]
    assert "more than 1337 bytes from any other node" in hole["message"]
    undo.callback(run, lab, "node1", "ip link set dev eth0 mtu 1500")
    assert fixed(lab, "net.mtupath", hole) == [("pass", EVERYBODY)]


def test_stall_at_any_size_is_not_attributed_to_the_mtu(
    lab: Lab, small_packets: None, undo: ExitStack
) -> None:
    drop(lab, undo, "node3", "meta length > 200")
    [stalled, _] = preflight(lab, "net.mtupath")
    assert brief([stalled]) == [("fail", ["node3"])]
    assert "in small packets as well" in stalled["message"]


def test_node_behind_a_slow_link_is_named(lab: Lab, undo: ExitStack) -> None:
    run(lab, "node3", "tc qdisc add dev eth0 root tbf rate 100mbit burst 64kb latency 50ms")
    undo.callback(run, lab, "node3", "tc qdisc del dev eth0 root")
    [slow] = [f for f in preflight(lab, "net.bandwidth") if f["status"] == "fail"]
    assert slow["nodes"] == ["node3"]
    assert "with every peer" in slow["message"]
    assert max(slow["data"]["node3"]["sends"]) < 1.2 * 12.5e6
    [line] = slow["remedy"]["commands"]
    assert "tbf" in lab.run(["sh", "-c", line], node="node3").stdout
