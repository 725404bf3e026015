"""Connections blocked by real rules on real hosts are reported with a remedy that works when pasted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from labkit import life
from labkit.lab import Lab

from .orch import ORCH, agents, orch, wait_until

pytestmark = pytest.mark.lab

SECOND = ("--main-address", "198.19.0.10")  # the rendezvous is on eth1, SSH is not


@pytest.fixture(scope="module")
def hosts(_labs: Any) -> Iterator[Lab]:
    lab = _labs.up(3, second_net=True)
    for node in lab.nodes:
        # Neighbours are resolved by ARP, as on any network.
        shell(lab, node, "ip neighbour flush dev eth1 nud permanent")
    yield lab
    life.down(lab.name)


@pytest.fixture
def lab(hosts: Lab) -> Iterator[Lab]:
    """Three hosts without any rules."""
    yield hosts
    for node in hosts.nodes:
        shell(hosts, node, "nft flush ruleset", "ip neighbour flush dev eth1")


def shell(lab: Lab, node: str, *lines: str) -> None:
    """Paste lines into a root shell of a node."""
    done = lab.run(["bash", "-e"], node=node, input="\n".join(lines))
    assert done.returncode == 0, done.stderr


def rules(hook: str, *lines: str, priority: int = 0, kind: str = "filter") -> str:
    """Return a line that loads a table with one chain."""
    body = "; ".join(lines)
    chain = f"chain c {{ type {kind} hook {hook} priority {priority}; {body}; }}"
    return f"nft -f - <<'.'\ntable ip site {{ {chain}; }}\n.\n"


def preflight(lab: Lab, *words: str, only: str = "net.tcp,net.bind") -> list[dict[str, Any]]:
    """Return the findings."""
    done = orch(lab, "preflight", "-i", lab.inventory, "--only", only, "--output", "json", *words)
    assert done.returncode in (0, 1), done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["checks"]
    return found


def wrong(findings: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the only finding that is not a pass."""
    (finding,) = [finding for finding in findings if finding["status"] != "pass"]
    return finding


def paste(lab: Lab, finding: dict[str, Any]) -> None:
    """Apply the remedy on the node that it names."""
    assert finding["remedy"]["commands"], finding["remedy"]
    for node in finding["remedy"]["nodes"]:
        shell(lab, node, *finding["remedy"]["commands"])


def assert_all_pass(findings: list[dict[str, Any]]) -> None:
    assert [finding["status"] for finding in findings] == ["pass"] * len(findings), findings


@dataclass(frozen=True)
class Row:
    """A change on a node, the nodes that are reported for it, and the report."""

    node: str
    made_by: str
    says: str
    named: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    status: str = "fail"


ESTABLISHED = "ct state established,related accept"
SSH = "tcp dport 22 accept"
IN = "is not reachable from any other node, but the other direction works: "
OUT = "does not reach any other node, but the other direction works: "
BOTH = "does not reach any other node, and is not reachable from there: "

ROWS = {
    "dropped on the way in": Row(
        "node1",
        rules("input", "policy drop", ESTABLISHED, "iif lo accept", SSH),
        IN + "no answer in 4 s, so packets are dropped (by its own nftables rules)",
    ),
    "rejected with a reset": Row(
        "node1",
        rules("input", SSH, "iif != lo tcp flags & (syn | ack) == syn reject with tcp reset"),
        IN + "refused at once with a TCP reset, though orch listens there (by its own nftables rules)",
    ),
    "rejected with ICMP": Row(
        "node0",
        rules("input", ESTABLISHED, "iif lo accept", SSH, "reject with icmp admin-prohibited"),
        IN + "rejected at once with ICMP (administratively prohibited) by the receiver",
    ),
    "dropped on the way out": Row(
        "node2",
        rules("output", ESTABLISHED, "oif lo accept", "meta l4proto tcp drop"),
        OUT + "no answer in 4 s, so packets are dropped (by its own nftables rules)",
    ),
    "rejected on the way out": Row(
        "node1",
        rules("output", ESTABLISHED, "oif lo accept", "tcp dport != 22 reject"),
        OUT + "rejected at once with ICMP (port unreachable) by the sender's own kernel",
    ),
    "only the main port open": Row(
        "node0",
        rules("input", "policy drop", ESTABLISHED, "iif lo accept", "tcp dport {22, 29500} accept"),
        "is reachable from any other node only on the main port 29500, not on the ephemeral ports",
    ),
    "no answer to ARP": Row(
        "node1",
        "ip link set dev eth1 arp off",
        BOTH + "no route to host after 3 s, as no host answers ARP",
        words=SECOND,
    ),
    "no route": Row(
        "node2",
        "ip route delete 198.19.0.0/24 dev eth1",
        BOTH + "network unreachable, as there is no route to 198.19.0.0/24",
        words=SECOND,
    ),
    "the source translated": Row(
        "node1",
        "ip address replace 198.18.0.99/32 dev lo\n"
        + rules("postrouting", "ip daddr 198.18.0.0/24 tcp dport > 1023 snat to 198.18.0.99",
                priority=100, kind="nat"),
        "is seen as 198.18.0.99 by node[0,2] instead of its address 198.18.0.11",
        status="warn",
    ),
    "the main port redirected": Row(
        "node0",
        rules("prerouting", "tcp dport 29500 redirect to :22", priority=-100, kind="nat"),
        "is not reachable on the main port 29500 from any other node, but is on other ports: "
        "another service answers with 'SSH-2.0-",
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_firewall_is_identified_and_its_remedy_works(lab: Lab, row: Row) -> None:
    shell(lab, row.node, row.made_by)
    finding = wrong(preflight(lab, *row.words))
    assert (finding["id"], finding["status"]) == ("net.tcp", row.status)
    assert finding["nodes"] == [row.node]
    assert row.says in finding["message"]
    paste(lab, finding)
    assert_all_pass(preflight(lab, *row.words))


def test_host_without_the_network_is_reported(lab: Lab) -> None:
    shell(lab, "ctl", "ip link set node1.1 nomaster")
    finding = wrong(preflight(lab, *SECOND))
    assert finding["nodes"] == ["node1"]
    assert "no host answers ARP" in finding["message"]
    assert "check that eth1 is on the same network as the others" in finding["remedy"]["text"]
    shell(lab, "ctl", "ip link set node1.1 master br1")
    assert_all_pass(preflight(lab, *SECOND))


def test_same_rules_on_all_nodes_are_one_finding(lab: Lab) -> None:
    for node in lab.nodes:  # even replies are dropped
        shell(lab, node, rules("input", "policy drop", "iif lo accept", SSH))
    finding = wrong(preflight(lab))
    assert finding["nodes"] == lab.nodes
    assert finding["message"].startswith("no node reaches any other: no answer in 4 s")
    paste(lab, finding)
    assert_all_pass(preflight(lab))


def test_of_two_nodes_the_one_with_the_rules_is_named(lab: Lab) -> None:
    pair = ("--nodes", "node0,node1")
    shell(lab, "node0", rules("output", ESTABLISHED, "oif lo accept", "meta l4proto tcp drop"))
    finding = wrong(preflight(lab, *pair))
    assert (finding["nodes"], finding["remedy"]["nodes"]) == (["node0"], ["node0"])
    assert finding["message"].startswith("does not reach node1: no answer in 4 s")
    paste(lab, finding)
    assert_all_pass(preflight(lab, *pair))


SERVE = """
import os, socket, sys, time
server = socket.create_server(("", int(sys.argv[1])))
print(os.getpid(), flush=True)
held = []
while True:
    connection = server.accept()[0]
    if sys.argv[2] == "closes":
        connection.close()
        continue
    held.append(connection)
    if sys.argv[2] == "talks":
        connection.send(b"\\x1b[2J\\xff\\x00" * 1000)
    while sys.argv[2] == "drips":
        try:
            connection.send(b"o")
            time.sleep(0.2)
        except OSError:
            break
"""


class Service:
    """A foreign service on a node."""

    def __init__(self, lab: Lab, node: str, port: int, manner: str) -> None:
        argv = [sys.executable, "-c", SERVE, str(port), manner]
        self._process = lab.popen(argv, node=node, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.pid = int(self._process.stdout.readline())
        """As the node sees it."""

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate(timeout=20)


def test_launch_names_the_process_that_has_the_main_port(lab: Lab) -> None:
    port = ("--main-port", "29500")
    with Service(lab, "node0", 29500, "holds") as service:
        (finding,) = [f for f in preflight(lab, *port) if f["status"] == "fail"]
        assert (finding["id"], finding["nodes"]) == ("net.bind", ["node0"])
        who = f"is taken by PID {service.pid} of user root: {sys.executable}"
        assert finding["message"].startswith(f"port 29500 on 198.18.0.10 {who}")
        assert f"`kill {service.pid}` on node0" in finding["remedy"]["text"]
        launched = orch(lab, "launch", "-i", lab.inventory, "--no-sync", *port, "x.py")
        assert launched.returncode == 125 and who in launched.stderr
        assert_all_pass(preflight(lab))  # orch picks another port
        shell(lab, "node0", f"kill {service.pid}")
    assert_all_pass(preflight(lab, *port))


@pytest.mark.parametrize(
    ("manners", "results"),
    [(("talks", "holds"), {"foreign", "silent"}), (("drips", "closes"), {"foreign", "closed"})],
)
def test_foreign_listener_on_the_main_port_is_reported_in_time(
    lab: Lab, manners: tuple[str, str], results: set[str]
) -> None:
    with (
        Service(lab, "node0", 8001, manners[0]),
        Service(lab, "node0", 8002, manners[1]),
    ):
        redirect = "ip saddr {} tcp dport 29500 redirect to :{}"
        lines = redirect.format("198.18.0.11", 8001), redirect.format("198.18.0.12", 8002)
        shell(lab, "node0", rules("prerouting", *lines, priority=-100, kind="nat"))
        finding = wrong(preflight(lab))
        assert finding["nodes"] == ["node0"]
        attempts = finding["data"]["node0"]["attempts"]
        assert {attempt["result"] for attempt in attempts} <= {*results, "reset"}
        assert all(attempt["seconds"] < 10 for attempt in attempts)
        paste(lab, finding)
        assert_all_pass(preflight(lab))


def listening(lab: Lab, node: str) -> set[int]:
    """The ports that a node listens on, except SSH's."""
    lines = lab.run(["cat", "/proc/net/tcp", "/proc/net/tcp6"], node=node).stdout.splitlines()
    fields = [line.split() for line in lines if not line.lstrip().startswith("sl")]
    return {int(f[1].rpartition(":")[2], 16) for f in fields if f[3] == "0A"} - {22}


def test_killed_preflight_leaves_no_listener(lab: Lab) -> None:
    shell(lab, "node1", rules("input", "policy drop", ESTABLISHED, "iif lo accept", SSH))
    words = ["preflight", "-i", str(lab.inventory), "--only", "net.tcp"]
    process = lab.popen([*ORCH, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        wait_until(lambda: all(listening(lab, node) for node in lab.nodes))
        assert 29500 in listening(lab, "node0")
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate(timeout=20)
    wait_until(lambda: not any(listening(lab, node) for node in lab.nodes))
    wait_until(lambda: agents(lab) == [])
