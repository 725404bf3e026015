"""Verdicts on the nodes' interfaces, and their remedies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import PlanError
from orchestrator.plan import Job
from orchestrator.preflight.interfaces.interfaces import CHECKS, INTERFACES
from orchestrator.preflight.interfaces.pick import gloo_matches, nccl_alone, nccl_matches
from orchestrator.preflight.judge import judge_check
from orchestrator.preflight.model import Context, Finding, Level, Status
from tests.preflight.contexts import answered, brief, interface, make_context

CHECK = {check.id: check for check in CHECKS}
ETH0 = interface("eth0", "198.18.0.10/24")
LO = interface("lo", "127.0.0.1/8")


def link(name: str = "eth0", *addresses: str, **more: Any) -> dict[str, Any]:
    usual = {
        "name": name, "addresses": list(addresses), "mtu": 1500, "speed": 10000,
        "duplex": "full", "device": True, "running": True, "roce": [],
        "arp_ignore": 0, "arp_announce": 0,
    }  # fmt: skip
    return {**usual, **more}


def judged(check: str, *nodes: list[dict[str, Any]]) -> list[Finding]:
    there = make_context(len(nodes), answers=answered(INTERFACES, *nodes))
    return judge_check(CHECK[check], there)


def picked(there: Context) -> list[Finding]:
    return judge_check(CHECK["nic.pick"], there)


def test_pick_reports_the_shared_network() -> None:
    [finding] = picked(make_context(3))
    assert (finding.status, finding.message) == (Status.PASS, "eth0 in 198.18.0.0/24")
    assert finding.nodes == ("node0", "node1", "node2")
    assert finding.data["node1"] == {
        "interface": "eth0",
        "address": "198.18.0.11",
        "subnet": "198.18.0.0/24",
        "nccl_alone": "eth0",
        "environment": {"NCCL_SOCKET_IFNAME": "=eth0", "GLOO_SOCKET_IFNAME": "eth0"},
    }


def test_pick_is_quick_and_has_no_probe() -> None:
    pick = CHECK["nic.pick"]
    assert (pick.level, pick.probes, pick.measurements) == (Level.QUICK, (), ())


def test_pick_reports_what_nccl_would_choose_by_itself() -> None:
    bridge = interface("br-5f2a", "172.18.0.1/16")
    there = make_context(3, facts_of={1: {"interfaces": (LO, bridge, ETH0)}})
    assert [(finding.nodes, finding.message) for finding in picked(there)] == [
        (("node0", "node2"), "eth0 in 198.18.0.0/24"),
        (
            ("node1",),
            (
                "eth0 in 198.18.0.0/24, set for NCCL by orch: "
                "by itself it would choose br-5f2a, which is virtual"
            ),
        ),
    ]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["lo", "eth0", "ib0"], "ib0"),
        (["lo", "docker0", "eth0"], "eth0"),
        (["lo", "tailscale0", "eth0"], "tailscale0"),
        (["lo", "cni0", "eth0"], "cni0"),
        (["lo", "virbr0", "docker0"], "docker0"),
        (["virbr0", "lo"], "lo"),
        (["lo"], "lo"),
        ([], None),
    ],
)
def test_nccl_alone_chooses_by_prefix_and_order(names: list[str], expected: str | None) -> None:
    assert nccl_alone(names) == expected


NAMES = ["lo", "eth0", "eth01", "ib0", "docker0"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("eth0", ["eth0", "eth01"]),
        ("eth", ["eth0", "eth01"]),
        ("=eth0", ["eth0"]),
        ("=eth0,ib0", ["eth0", "ib0"]),
        ("ib:1,eth01", ["eth01", "ib0"]),
        ("^docker,lo", ["eth0", "eth01", "ib0"]),
        ("^=eth0", ["lo", "eth01", "ib0", "docker0"]),
        ("198.18.0.10", []),
        ("=eth", []),
        ("^lo,eth,ib,docker", []),
    ],
)
def test_nccl_matches_prefixes_whole_names_and_exclusions(value: str, expected: list[str]) -> None:
    assert nccl_matches(value, NAMES) == expected


@given(st.text(max_size=12), st.lists(st.sampled_from(NAMES), unique=True))
def test_matches_of_any_value_are_existing_interfaces(value: str, names: list[str]) -> None:
    assert set(nccl_matches(value, names)) <= set(names)
    assert set(gloo_matches(value, names)) <= set(names)


@pytest.mark.parametrize("value", ["eth", "^lo", "=eth0", "198.18.0.10", "eth0,nope", "eth0 "])
def test_gloo_takes_whole_names_only(value: str) -> None:
    assert gloo_matches(value, NAMES) == []
    assert gloo_matches("ib0,eth0", NAMES) == ["ib0", "eth0"]


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ({"job": Job("t.py", environment={"GLOO_SOCKET_IFNAME": "^lo"})}, "the job's environment"),
        (
            {"host_of": {i: {"env": {"GLOO_SOCKET_IFNAME": "^lo"}} for i in range(3)}},
            "the inventory's env",
        ),
        (
            {"facts_of": {i: {"environment": {"GLOO_SOCKET_IFNAME": "^lo"}} for i in range(3)}},
            "the node's login environment",
        ),
    ],
)
def test_pick_with_a_variable_that_selects_no_interface_fails_with_its_place(
    more: Mapping[str, Any], place: str
) -> None:
    [finding] = picked(make_context(3, **more))
    assert finding.status is Status.FAIL
    assert (
        f"GLOO_SOCKET_IFNAME=^lo of {place} is none of its interfaces, lo, eth0" in finding.message
    )
    assert finding.remedy is not None
    assert finding.remedy.text == (
        f"remove GLOO_SOCKET_IFNAME from {place}: orch then sets it to eth0"
    )


@pytest.mark.parametrize(("gpus", "status"), [(0, "warn"), (8, "fail")])
def test_pick_with_an_unused_login_variable_of_nccl_only_warns(gpus: int, status: str) -> None:
    fact = {"environment": {"NCCL_SOCKET_IFNAME": "ib0"}, "gpus": gpus}
    assert brief(picked(make_context(1, facts_of={0: fact})))[0] == (status, "node0")


def test_pick_fails_only_on_the_node_without_the_interface() -> None:
    second = interface("eth1", "198.19.0.1/24")
    there = make_context(
        3,
        job=Job("t.py", environment={"NCCL_SOCKET_IFNAME": "eth1"}),
        facts_of={i: {"interfaces": (LO, ETH0, second)} for i in (0, 2)},
    )
    assert brief(picked(there)) == [
        ("fail", "node1"),
        ("warn", "node0,node2"),  # another network than the one that orch has chosen
        ("pass", "node0,node2"),
    ]


def test_pick_with_correct_variables_of_the_user_passes() -> None:
    given = {"NCCL_SOCKET_IFNAME": "eth", "GLOO_SOCKET_IFNAME": "eth0"}
    assert brief(picked(make_context(2, job=Job("t.py", environment=given)))) == [
        ("pass", "node0,node1")
    ]


def test_pick_uses_the_variable_of_the_job_before_that_of_the_login() -> None:
    there = make_context(
        2,
        job=Job("t.py", environment={"GLOO_SOCKET_IFNAME": "eth0"}),
        facts_of={0: {"environment": {"GLOO_SOCKET_IFNAME": "nope"}}},
    )
    assert brief(picked(there)) == [("pass", "node0,node1")]


def test_pick_fails_if_planning_found_no_network() -> None:
    error = PlanError("the nodes share no subnet\nat all", remedy="give main's address")
    [finding] = picked(make_context(2, trouble={"nic.pick": error}))
    assert (finding.status, finding.message) == (Status.FAIL, "the nodes share no subnet; at all")
    assert finding.remedy is not None
    assert finding.remedy.text == "give main's address"


def test_two_interfaces_in_one_subnet_warn_with_sysctl_commands() -> None:
    twins = [link("eth0", "198.18.0.11/24"), link("vlan.7", "198.18.0.99/24")]
    findings = judged("nic.samesubnet", [link("eth0", "198.18.0.10/24")], twins)
    assert brief(findings) == [("warn", "node1"), ("pass", "node0")]
    assert "eth0 and vlan.7 are both in 198.18.0.0/24" in findings[0].message
    assert findings[0].remedy is not None
    assert findings[0].remedy.commands == (
        "sysctl -w net.ipv4.conf.eth0.arp_ignore=1 net.ipv4.conf.eth0.arp_announce=2",
        "sysctl -w net.ipv4.conf.vlan/7.arp_ignore=1 net.ipv4.conf.vlan/7.arp_announce=2",
    )


def test_two_interfaces_in_one_subnet_with_arp_settings_pass() -> None:
    apart = {"arp_ignore": 1, "arp_announce": 2}
    twins = [link("eth0", "198.18.0.11/24", **apart), link("eth1", "198.18.0.99/24", **apart)]
    assert brief(judged("nic.samesubnet", twins)) == [("pass", "node0")]
    twins[1]["arp_announce"] = 0
    assert brief(judged("nic.samesubnet", twins)) == [("warn", "node0")]


def test_interfaces_down_or_with_host_routes_are_not_in_one_subnet() -> None:
    node = [
        link("lo", "127.0.0.1/8"),
        link("eth0", "198.18.0.10/24", "198.18.0.200/24"),
        link("eth1", "198.18.0.11/24", running=False),
        link("eth2", "198.18.9.9/32"),
        link("eth3", "198.18.9.9/32", "fd00::1/64"),
        link("eth4", "fd00::2/64"),
    ]
    assert brief(judged("nic.samesubnet", node)) == [("pass", "node0")]


def test_slower_link_warns() -> None:
    findings = judged("nic.speed", [link()], [link(speed=1000)], [link()])
    assert brief(findings) == [("warn", "node1"), ("pass", "node0,node2")]
    assert findings[0].message == "eth0 runs at 1000 Mb/s, the others at 10000 Mb/s"


def test_half_duplex_warns() -> None:
    findings = judged("nic.speed", [link()], [link(duplex="half")])
    assert brief(findings) == [("warn", "node1"), ("pass", "node0")]
    assert findings[0].remedy is not None
    assert findings[0].remedy.commands == ("ethtool -s eth0 autoneg on",)


def test_unknown_speed_is_skipped() -> None:
    findings = judged("nic.speed", [link(device=False)], [link(speed=None)], [link()])
    assert brief(findings) == [("pass", "node2"), ("skip", "node0,node1")]
    assert brief(judged("nic.speed", [link(device=False, duplex="half")])) == [("skip", "node0")]


def test_different_mtu_warns_with_a_command_to_set_the_common_one() -> None:
    findings = judged("nic.mtu", [link()], [link()], [link(mtu=9000)])
    assert brief(findings) == [("warn", "node2"), ("pass", "node0,node1")]
    assert findings[0].remedy is not None
    assert findings[0].remedy.commands == ("ip link set dev eth0 mtu 1500",)


def test_different_mtu_fails_if_roce_uses_the_interface() -> None:
    roce = ["mlx5_0"]
    node, odd = link(roce=roce), link(roce=roce, mtu=4200)
    findings = judged("nic.mtu", [node], [odd], [node])
    assert brief(findings) == [("fail", "node1"), ("pass", "node0,node2")]


def test_unreadable_mtu_is_incomplete() -> None:
    assert brief(judged("nic.mtu", [link()], [link(mtu=None)])) == [
        ("incomplete", "node1"),
        ("pass", "node0"),
    ]
    assert brief(judged("nic.mtu", [link("eth7")], [link()])) == [
        ("incomplete", "node0"),
        ("pass", "node1"),
    ]


@pytest.mark.parametrize("check", ["nic.samesubnet", "nic.speed", "nic.mtu"])
def test_node_without_an_answer_is_incomplete(check: str) -> None:
    [finding] = judge_check(CHECK[check], make_context(2))
    assert finding.status is Status.INCOMPLETE


@pytest.mark.parametrize("raw", [None, {}, [{}], [link("eth0", "nonsense")], [link(mtu="large")]])
def test_parse_of_invalid_interfaces_raises(raw: Any) -> None:
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        INTERFACES.parse(raw if raw != {} else {"": 1})
