"""Resolution of the nodes' own names, and of each other's."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.inventory import Host
from orchestrator.plan import Job
from orchestrator.preflight.hosts.dns import NAMES
from orchestrator.preflight.hosts.names import CHECKS, OWN_NAME
from orchestrator.preflight.judge import judge_check
from orchestrator.preflight.model import Finding, Status

from ..contexts import answered, brief, make_context

OWN, DNS = CHECKS


def own(*addresses: str, error: str | None = None) -> dict[str, Any]:
    return {"hostname": "whatever", "addresses": list(addresses), "error": error}


def judged(*raw: Any, **more: Any) -> list[Finding]:
    return judge_check(OWN, make_context(len(raw), answers=answered(OWN_NAME, *raw), **more))


def test_name_that_resolves_to_an_own_address_passes() -> None:
    assert brief(judged(own("198.18.0.10"), own("198.18.0.11"))) == [("pass", "node0,node1")]


def test_loopback_on_all_nodes_warns_once_if_the_interface_is_set() -> None:
    (finding,) = judged(*[own("127.0.1.1")] * 3)
    assert brief([finding]) == [("warn", "node0,node1,node2")]
    assert "127.0.1.1" in finding.message
    assert finding.remedy is not None
    assert len(finding.remedy.commands) == 1
    assert "198.18.0.0/24" in finding.remedy.commands[0]


@pytest.mark.parametrize(
    "raw",
    [
        own("127.0.0.1", "198.18.0.11"),  # the first is taken
        own("::1"),
        own("203.0.113.9"),
        own(error="Name or service not known"),
    ],
)
def test_first_address_that_is_not_the_nodes_own_warns(raw: dict[str, Any]) -> None:
    findings = judged(own("198.18.0.10"), raw)
    assert brief(findings) == [("warn", "node1"), ("pass", "node0")]


def test_own_name_without_set_interface_fails() -> None:
    job = Job("train.py", launcher="torchrun", environment={"GLOO_SOCKET_IFNAME": ""})
    findings = judged(own("198.18.0.10"), own(error="no answer within 2 s"), job=job)
    assert brief(findings) == [("fail", "node1"), ("pass", "node0")]
    assert "no answer within 2 s" in findings[0].message


def test_own_name_with_the_interface_set_by_the_login_warns() -> None:
    unset = Job("train.py", launcher="torchrun")
    environment = {"GLOO_SOCKET_IFNAME": "eth0"}
    nodes = {0: {"environment": environment}, 1: {"environment": environment}}
    findings = judged(own("127.0.1.1"), own("127.0.1.1"), job=unset, facts_of=nodes)
    assert brief(findings) == [("warn", "node0,node1")]


def test_names_on_one_machine_are_skipped() -> None:
    one = {"identity": "boot/net", "hostname": "laptop"}
    for check, raw in ((OWN, own("127.0.1.1")), (DNS, {})):
        there = make_context(
            2, facts_of={0: one, 1: one}, answers=answered(check.probes[0], raw, raw)
        )
        assert brief(list(judge_check(check, there))) == [("skip", "node0,node1")]


def test_two_machines_of_one_name_warn() -> None:
    same = {0: {"hostname": "ubuntu"}, 2: {"hostname": "ubuntu"}}
    findings = judged(own("198.18.0.10"), own("198.18.0.11"), own("198.18.0.12"), facts_of=same)
    assert ("warn", "node0,node2") in brief(findings)


HOSTS = {
    "Debian": "127.0.0.1\tlocalhost\n127.0.1.1\tn1.lan\tn1\n",
    "with localhost": "127.0.0.1 localhost n1\n::1 localhost n1\n",
    "names that are longer": "127.0.0.1 localhost\n127.0.1.1 n1\n10.0.0.5 n1-b n12\n",
    "nothing of itself": "127.0.0.1 localhost\n",
}


@pytest.mark.parametrize("hosts", HOSTS.values(), ids=HOSTS)
def test_line_for_etc_hosts_may_be_pasted_twice(hosts: str, tmp_path: Path) -> None:
    """In a real shell, with a hosts file, hostname and ip of the test."""
    (finding,) = judged(own("127.0.1.1"), own("127.0.1.1"))
    assert finding.remedy is not None
    (command,) = finding.remedy.commands
    file = tmp_path / "hosts"
    file.write_text(hosts)
    programs = {
        "hostname": "echo n1",
        "ip": 'test "$*" = "-o addr show to 198.18.0.0/24" && echo '
        '"7: eth1    inet 198.18.0.11/24 brd 198.18.0.255 scope global eth1\\       valid_lft forever"',
    }
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    texts = []
    for _ in range(2):
        subprocess.run(
            ["sh", "-c", command.replace("/etc/hosts", str(file))],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            check=True,
            timeout=10,
        )
        texts.append(file.read_text())
    assert texts[0] == texts[1]
    lines = [line.split() for line in texts[0].splitlines()]
    assert [words[0] for words in lines if "n1" in words] == ["198.18.0.11"]
    assert ["127.0.0.1", "localhost"] in lines
    assert ("n12" in hosts) == (["10.0.0.5", "n1-b", "n12"] in lines)


def test_line_for_etc_hosts_without_shared_subnet_has_the_nodes_address() -> None:
    found = make_context(2, answers=answered(OWN_NAME, own("127.0.1.1"), own("198.18.0.11")))
    found = replace(found, plan=replace(found.plan, subnet=None))
    finding = judge_check(OWN, found)[0]
    assert finding.remedy is not None
    assert "a=198.18.0.10;" in finding.remedy.commands[0]


ALL = {f"node{i}": [f"198.18.0.{10 + i}"] for i in range(3)}


def answer(names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    return {
        name: {"addresses": list(found), "error": None if found else "not known"}
        for name, found in names.items()
    }


def resolved(*views: Mapping[str, Sequence[str]], **more: Any) -> list[Finding]:
    raw = [answer({**dict.fromkeys(ALL, ()), **view}) for view in views]
    return judge_check(DNS, make_context(len(views), answers=answered(NAMES, *raw), **more))


def test_same_addresses_on_all_nodes_pass() -> None:
    assert brief(resolved(ALL, ALL, ALL)) == [("pass", "node0,node1,node2")]


def test_nodes_own_name_on_itself_is_ignored() -> None:
    views = [{**ALL, f"node{i}": ["127.0.1.1"]} for i in range(3)]
    assert brief(resolved(*views)) == [("pass", "node0,node1,node2")]


def test_node_with_another_address_for_a_name_warns() -> None:
    first, second = resolved(ALL, {**ALL, "node2": ["192.0.2.9"]}, ALL, facts_of={})
    assert brief([first, second]) == [("warn", "node1"), ("pass", "node0,node2")]
    assert "node2 to 192.0.2.9, others to 198.18.0.12" in first.message


def test_node_that_does_not_resolve_a_name_warns() -> None:
    first = resolved(ALL, {**ALL, "node0": ()}, ALL)[0]
    assert (first.status, first.nodes) == (Status.WARN, ("node1",))
    assert "node0 to nothing (not known), others to 198.18.0.10" in first.message


def test_names_unknown_to_all_other_nodes_are_one_finding_with_the_line() -> None:
    views = [{f"node{i}": ["127.0.1.1"]} for i in range(3)]
    (finding,) = resolved(*views)
    assert brief([finding]) == [("warn", "node0,node1,node2")]
    assert finding.remedy is not None and finding.remedy.nodes == ("node0", "node1", "node2")
    (line,) = finding.remedy.commands
    assert "'198.18.0.10 node0' '198.18.0.11 node1' '198.18.0.12 node2'" in line


def test_unknown_name_of_the_inventory_passes() -> None:
    nodes = {i: {"hostname": f"box{i}"} for i in range(3)}
    boxes = {f"box{i}": [f"198.18.0.{10 + i}"] for i in range(3)}
    assert brief(resolved(boxes, boxes, boxes, facts_of=nodes)) == [("pass", "node0,node1,node2")]


def test_all_names_of_a_node_are_asked_for_and_no_address() -> None:
    asked = make_context(2, facts_of={1: {"hostname": "box"}})
    node = asked.nodes[0]
    host = Host(name="gpu0", address="gpu0.lan")
    renamed = replace(asked.plan.nodes[0], host=host)
    there = replace(asked, plan=replace(asked.plan, nodes=(renamed, asked.plan.nodes[1])))
    assert NAMES.arguments(node) == {"names": ["node0", "box", "node1"]}
    assert NAMES.arguments(there.nodes[0]) == {
        "names": ["node0", "box", "gpu0", "gpu0.lan", "node1"]
    }


def test_nodes_that_did_not_answer_are_incomplete() -> None:
    assert brief(list(judge_check(DNS, make_context(3)))) == [("incomplete", "node0,node1,node2")]


def test_unusual_host_name_is_not_put_into_a_line() -> None:
    nodes = {i: {"hostname": f'x"; reboot {i}'} for i in range(3)}
    finding = resolved({}, {}, {}, facts_of=nodes)[0]
    assert finding.remedy is not None and finding.remedy.commands == ()


@pytest.mark.parametrize("raw", [None, [], {"a": None}, {"a": {"addresses": ["x"], "error": None}}])
def test_invalid_answer_is_refused(raw: Any) -> None:
    with pytest.raises((ValueError, TypeError, AttributeError)):
        NAMES.parse(raw if raw is not None else 7)
