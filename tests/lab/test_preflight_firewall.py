"""Remedies for firewalls, host names and port ranges work when pasted, on real hosts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from labkit import life
from labkit.lab import Lab

from orchestrator.preflight.model import Remedy
from orchestrator.preflight.reach.firewall import Firewall, may_block, open_ports
from orchestrator.preflight.reach.openings import Opening
from orchestrator.remote.package import node_package

from .orch import orch

pytestmark = pytest.mark.lab

PACKAGE = "/tmp/node.pyz"
SUBNET = "198.18.0.0/16"
MAIN, OTHER = 29500, 8080
RANGE = (32768, 60999)
INTO = Opening.make("input", SUBNET, MAIN, RANGE)

LISTEN = """
import select, socket, sys
listeners = [socket.create_server(("", int(port)), backlog=64) for port in sys.argv[1:]]
print("ready", flush=True)
while True:
    for listener in select.select(listeners, [], [])[0]:
        listener.accept()[0].close()
"""
CONNECT = """
import selectors, socket, sys, time
address, *ports = sys.argv[1:]
selector, passed = selectors.DefaultSelector(), []
for port in ports:
    connection = socket.socket()
    connection.setblocking(False)
    connection.connect_ex((address, int(port)))
    selector.register(connection, selectors.EVENT_WRITE, port)
deadline = time.monotonic() + 0.5
while selector.get_map() and time.monotonic() < deadline:
    for key, _ in selector.select(deadline - time.monotonic()):
        selector.unregister(key.fileobj)
        if not key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            passed.append(key.data)
print(*passed)
"""
PROBE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from orchestrator.node.probes.firewall import firewall
print(json.dumps(firewall(*json.loads(sys.argv[2]))))
"""

INBOUND = {
    "a policy that drops": """
        table inet filter {
          chain input {
            type filter hook input priority 0; policy drop;
            ct state established,related accept
            iif lo accept
            tcp dport 22 accept
          }
        }""",
    "a table of IPv4 alone": """
        table ip guard {
          chain in {
            type filter hook input priority 0; policy drop;
            tcp dport 22 accept
          }
        }""",
    "two base chains one after the other": """
        table inet first {
          chain input { type filter hook input priority -10; policy drop; tcp dport 22 accept; }
        }
        table inet second {
          chain input { type filter hook input priority 10; policy accept; tcp dport > 1024 drop; }
        }""",
    "a jump to a chain that drops": """
        table inet filter {
          chain unwanted { tcp dport != 22 counter drop; }
          chain input { type filter hook input priority 0; policy accept; jump unwanted; }
        }""",
    "a rule that rejects": """
        table inet filter {
          chain input {
            type filter hook input priority 0; policy accept;
            tcp dport { 22, 80 } accept
            reject with icmpx type admin-prohibited
          }
        }""",
    "only the main port open": """
        table inet filter {
          chain input {
            type filter hook input priority 0; policy drop;
            tcp dport { 22, 29500 } accept
          }
        }""",
    "a map of verdicts": """
        table inet filter {
          chain closed { reject with tcp reset; }
          chain input {
            type filter hook input priority 0; policy accept;
            tcp dport vmap { 22 : accept, 1024-65535 : jump closed }
          }
        }""",
    "a drop before any chain of input": """
        table ip raw {
          chain pre {
            type filter hook prerouting priority raw; policy accept;
            ip protocol tcp tcp dport > 1024 drop
          }
        }""",
    "a table named as a keyword of sh": """
        table inet esac {
          chain do { type filter hook input priority 0; policy drop; }
        }""",
}

ODD_NAMES = [
    "two words",
    "drop",
    "it's",
    'a "quote"',
    "$HOME",
    "`id`; true",
    "ünï",
    "{ }",
    "-f",
    "*",
]

OUTBOUND = {
    "an egress policy that drops": """
        table inet filter {
          chain output {
            type filter hook output priority 0; policy drop;
            ct state established,related accept
            tcp dport { 22, 53 } accept
          }
        }""",
    "an egress rule that rejects": """
        table ip filter {
          chain output {
            type filter hook output priority 0; policy accept;
            ip daddr 198.18.0.0/15 tcp dport > 1024 reject
          }
        }""",
}


@pytest.fixture(scope="module")
def lab(_labs: Any) -> Iterator[Lab]:
    """Two hosts; node1 listens on the main port, on both ends of the ephemeral range, and one more."""
    lab: Lab = _labs.up(2)
    for node in lab.nodes:  # which may not see the folder of this package
        (lab.files(node) / "tmp/node.pyz").write_bytes(node_package().data)
    command = [sys.executable, "-c", LISTEN, *map(str, (MAIN, *RANGE, OTHER))]
    with lab.popen(command, node="node1", stdout=subprocess.PIPE) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == b"ready\n"
        yield lab
        listener.kill()
    life.down(lab.name)


@pytest.fixture(autouse=True)
def _open_afterwards(lab: Lab) -> Iterator[None]:
    yield
    for node in lab.nodes:
        assert lab.run(["nft", "flush", "ruleset"], node=node).returncode == 0


def load(lab: Lab, node: str, ruleset: str, *words: str) -> None:
    done = lab.run(["nft", *words, "-f", "-"], node=node, input=ruleset)
    assert done.returncode == 0, done.stderr


def reached(lab: Lab) -> set[int]:
    """The ports of node1 that node0 can connect to."""
    ports = map(str, (MAIN, *RANGE, OTHER))
    command = [sys.executable, "-c", CONNECT, lab.address("node1"), *ports]
    return set(map(int, lab.run(command, node="node0").stdout.split()))


def look(lab: Lab, node: str) -> Firewall:
    """The result of a firewall probe on the node."""
    asked = json.dumps([None, lab.address(node), SUBNET, MAIN, "/"])
    done = lab.run([sys.executable, "-c", PROBE, PACKAGE, asked], node=node)
    assert done.returncode == 0, done.stderr
    return Firewall.parse(json.loads(done.stdout))


def paste(lab: Lab, node: str, remedy: Remedy | None) -> None:
    assert remedy is not None
    for command in remedy.commands:
        done = lab.run(["sh", "-c", command], node=node)
        assert done.returncode == 0, (command, done.stderr)


def test_node_without_a_firewall_is_not_named(lab: Lab) -> None:
    firewall = look(lab, "node1")
    assert reached(lab) == {MAIN, *RANGE, OTHER}
    assert may_block(firewall, "input") is may_block(firewall, "output") is False
    assert open_ports(firewall, INTO) is None


@pytest.mark.parametrize("ruleset", INBOUND.values(), ids=INBOUND)
def test_remedy_for_dropped_input_works_when_pasted(lab: Lab, ruleset: str) -> None:
    load(lab, "node1", ruleset)
    before = reached(lab)
    assert not before & set(RANGE)
    firewall = look(lab, "node1")
    assert (may_block(firewall, "input"), may_block(firewall, "output")) == (True, False)
    paste(lab, "node1", open_ports(firewall, INTO))
    assert reached(lab) == before | {MAIN, *RANGE}
    assert may_block(look(lab, "node1"), "input") is False


def test_any_name_of_a_table_and_a_chain_can_be_pasted(lab: Lab) -> None:
    commands: list[dict[str, Any]] = []
    for name in ODD_NAMES:
        base = {"type": "filter", "hook": "input", "prio": 0, "policy": "drop"}
        chain = {"family": "inet", "table": name, "name": name, **base}
        commands.append({"add": {"table": {"family": "inet", "name": name}}})
        commands.append({"add": {"chain": chain}})
    load(lab, "node1", json.dumps({"nftables": commands}), "-j")
    assert reached(lab) == set()
    paste(lab, "node1", open_ports(look(lab, "node1"), INTO))
    assert reached(lab) == {MAIN, *RANGE}


@pytest.mark.parametrize("ruleset", OUTBOUND.values(), ids=OUTBOUND)
def test_remedy_for_dropped_output_works_when_pasted(lab: Lab, ruleset: str) -> None:
    load(lab, "node0", ruleset)
    assert reached(lab) == set()
    firewall = look(lab, "node0")
    assert (may_block(firewall, "input"), may_block(firewall, "output")) == (False, True)
    paste(lab, "node0", open_ports(firewall, Opening.make("output", SUBNET, MAIN, RANGE)))
    assert reached(lab) == {MAIN, *RANGE}


def test_main_port_in_the_range_is_opened_with_the_range(lab: Lab) -> None:
    load(lab, "node1", INBOUND["a policy that drops"])
    paste(lab, "node1", open_ports(look(lab, "node1"), Opening.make("input", SUBNET, 40000, RANGE)))
    assert reached(lab) == set(RANGE)


def test_rules_that_concern_other_traffic_are_not_named(lab: Lab) -> None:
    ruleset = """
        table inet f2b-table {
          set addr-set-sshd { type ipv4_addr; elements = { 192.0.2.1, 192.0.2.7 }; }
          chain f2b-chain {
            type filter hook input priority -1; policy accept;
            tcp dport 22 ip saddr @addr-set-sshd reject with icmp type port-unreachable
            ct state invalid drop
            tcp flags & (fin|syn|rst|ack) != syn ct state new drop
            udp dport != 53 drop
            limit rate over 500/second burst 500 packets drop
          }
        }
        table ip raw {
          chain PREROUTING {
            type filter hook prerouting priority raw; policy accept;
            ip daddr 172.17.0.2 iifname != "docker0" counter drop
          }
        }"""
    load(lab, "node1", ruleset)
    assert reached(lab) == {MAIN, *RANGE, OTHER}
    assert may_block(look(lab, "node1"), "input") is False


def test_without_root_unread_rules_are_reported(lab: Lab) -> None:
    asked = json.dumps([None, lab.address("node1"), SUBNET, MAIN, "/"])
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    done = lab.run([*nobody, sys.executable, "-c", PROBE, PACKAGE, asked], node="node1")
    firewall = Firewall.parse(json.loads(done.stdout))
    assert "root" in str(firewall.unreadable)
    assert may_block(firewall, "input") is None
    remedy = open_ports(firewall, INTO)
    assert remedy is not None and remedy.commands == ()
    assert "29500 and 32768-60999" in remedy.text


def checked(lab: Lab, *ids: str) -> dict[str, list[dict[str, Any]]]:
    """The findings of `orch preflight`, by check id."""
    words = ["--only", ",".join(ids), "--output", "json"]
    done = orch(lab, "preflight", "-i", lab.inventory, *words)
    assert done.returncode in (0, 1), done.stderr
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in json.loads(done.stdout)["checks"]:
        found.setdefault(finding["id"], []).append(finding)
    return found


def paste_all(lab: Lab, finding: dict[str, Any]) -> None:
    for node in finding["remedy"]["nodes"]:
        for command in finding["remedy"]["commands"]:
            done = lab.run(["sh", "-c", command], node=node)
            assert done.returncode == 0, (command, done.stderr)


@pytest.fixture
def own_hosts_file(lab3: Lab) -> Iterator[Lab]:
    """Hosts whose own names are 127.0.1.1, with a writable /etc/hosts."""
    for node in lab3.nodes:
        mounted = "cp /etc/hosts /tmp/hosts && mount --bind /tmp/hosts /etc/hosts"
        assert lab3.run(["sh", "-c", mounted], node=node).returncode == 0
    yield lab3
    for node in lab3.nodes:
        assert lab3.run(["umount", "/etc/hosts"], node=node).returncode == 0


def test_loopback_names_are_one_warning_with_a_working_remedy(
    own_hosts_file: Lab,
) -> None:
    lab = own_hosts_file
    (finding,) = checked(lab, "host.name")["host.name"]
    assert (finding["status"], finding["nodes"]) == ("warn", lab.nodes)
    assert "127.0.1.1" in finding["message"]
    paste_all(lab, finding)
    paste_all(lab, finding)
    found = checked(lab, "host.name", "net.dns")
    assert [finding["status"] for finding in found["host.name"]] == ["pass"]
    # Each resolves its own name now, but not those of the others.
    (finding,) = found["net.dns"]
    assert (finding["status"], finding["nodes"]) == ("warn", lab.nodes)
    paste_all(lab, finding)
    assert [finding["status"] for finding in checked(lab, "net.dns")["net.dns"]] == ["pass"]


def test_small_port_ranges_and_backlogs_have_working_remedies(lab: Lab) -> None:
    small = 'sysctl -w net.ipv4.ip_local_port_range="50000 50099" net.core.somaxconn=1'
    assert lab.run(["sh", "-c", small], node="node1").returncode == 0
    found = checked(lab, "net.portrange", "net.somaxconn")
    for findings in found.values():
        assert [(f["status"], f["nodes"]) for f in findings] == [
            ("warn", ["node1"]),
            ("pass", ["node0"]),
        ]
        paste_all(lab, findings[0])
    for findings in checked(lab, *found).values():
        assert [(f["status"], f["nodes"]) for f in findings] == [("pass", ["node0", "node1"])]
