"""Nodes behind one NAT address, with SSH on a port for each and a training network of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labkit import life, network
from labkit.lab import Lab

from .orch import launch, orch, write

pytestmark = pytest.mark.lab

NODES = ("node0", "node1", "node2")
GATEWAY = "node3"
PORTS = {node: 2201 + index for index, node in enumerate(NODES)}
INTERNAL = {node: network.address(index, net=1) for index, node in enumerate(NODES)}

# Ranks that meet at the main address, and print the interface that orch has chosen for them.
MEETING = """
import os, socket, time
main, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
rank = os.environ["RANK"]
device = os.environ["GLOO_SOCKET_IFNAME"]
if rank == "0":
    with socket.create_server((main, port)) as server:
        server.settimeout(60)
        peers = sorted(server.accept()[1][0] for _ in range(int(os.environ["WORLD_SIZE"]) - 1))
    print("met", main, device, *peers)
else:
    for _ in range(600):
        try:
            with socket.create_connection((main, port), 1):
                break
        except OSError:
            time.sleep(0.1)
    else:
        raise SystemExit(f"{main}:{port} does not answer")
    print("met", main, device)
"""


@pytest.fixture(scope="module")
def lab(_labs: Any) -> Iterator[Lab]:
    """Three hosts that only the gateway reaches by SSH, and that reach each other on net 1 only."""
    lab: Lab = _labs.up(4, second_net=list(NODES))
    forward = "".join(f"tcp dport {PORTS[node]} dnat to {lab.address(node)}:22\n" for node in NODES)
    network.configure(
        lab.pid(GATEWAY),
        [],
        ruleset=f"""
        table ip nat {{
            chain forward {{ type nat hook prerouting priority dstnat; {forward} }}
            chain back {{ type nat hook postrouting priority srcnat; masquerade; }}
        }}""",
    )
    done = lab.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"], node=GATEWAY)
    assert done.returncode == 0, done.stderr
    for node in NODES:
        network.configure(
            lab.pid(node),
            [],
            ruleset=f"""
            table ip guard {{
                chain in {{
                    type filter hook input priority filter;
                    iifname "eth0" ip saddr != {lab.address(GATEWAY)} drop
                }}
            }}""",
        )
    yield lab
    life.down(lab.name)


def inventory(lab: Lab, folder: Path, **internal: str | None) -> Path:
    """Write an inventory of the nodes by ports of the gateway; `internal` replaces internal addresses."""
    head = lab.inventory.read_text().partition("hosts:\n")[0]
    lines = []
    for node in NODES:
        keys = {"name": node, "address": lab.address(GATEWAY), "port": PORTS[node]}
        own = {**INTERNAL, **internal}[node]
        lines.append(f"  - {json.dumps({**keys, **({'internal_address': own} if own else {})})}\n")
    file = folder / "nat.yaml"
    file.write_text(f"{head}hosts:\n{''.join(lines)}")
    return file


def test_ranks_meet_in_their_own_network(lab: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "meet.py", MEETING)
    hosts = inventory(lab, tmp_path)
    done = launch(lab, "--accept-new", "--launcher", "direct", script, inventory=hosts)
    assert done.returncode == 0, done.stderr
    lines = sorted(line.partition("│ ")[2] for line in done.stdout.splitlines())
    first = f"met {INTERNAL['node0']} eth1"
    assert lines == [first, first, f"{first} {INTERNAL['node1']} {INTERNAL['node2']}"]


def test_checks_measure_the_internal_addresses(lab: Lab, tmp_path: Path) -> None:
    hosts = inventory(lab, tmp_path)
    checks = "nic.pick,host.unique,net.tcp"
    words = ("--accept-new", "--only", checks, "--output", "json", "--no-sync")
    done = orch(lab, "preflight", "-i", hosts, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)["checks"]
    assert {each["id"]: each["status"] for each in found} == dict.fromkeys(
        checks.split(","), "pass"
    )
    (pick,) = [each for each in found if each["id"] == "nic.pick"]
    chosen = "eth1 in 198.19.0.0/24, set for NCCL by orch: by itself it would choose eth0"
    assert pick["message"] == chosen
    listed = json.loads(orch(lab, "nodes", "-i", hosts, "--output", "json").stdout)
    assert [each["interface_address"] for each in listed] == list(INTERNAL.values())


def test_one_internal_address_decides_for_all(lab: Lab, tmp_path: Path) -> None:
    hosts = inventory(lab, tmp_path, node0=None, node2=None)
    done = launch(lab, "--accept-new", "--dry-run", "--no-sync", "train.py", inventory=hosts)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"--master-addr={INTERNAL['node0']}") == len(NODES)
    assert done.stdout.count("GLOO_SOCKET_IFNAME=eth1") == len(NODES)


def test_address_of_another_node_is_refused(lab: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "meet.py", MEETING)
    hosts = inventory(lab, tmp_path, node1="198.19.0.99")
    done = launch(lab, "--accept-new", script, inventory=hosts)
    assert done.returncode == 125
    assert "node1: internal_address 198.19.0.99 is not an address of this node" in done.stderr
    assert f"it has {lab.address('node1')} (eth0), {INTERNAL['node1']} (eth1)" in done.stderr
    listed = orch(lab, "nodes", "-i", hosts)
    assert "node1: internal_address 198.19.0.99 is not an address of this node" in listed.stderr
