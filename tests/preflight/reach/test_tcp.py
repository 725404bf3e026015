"""Verdicts on the main port and on the ways between nodes, and their remedies."""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from orchestrator.errors import PlanError
from orchestrator.plan import Job
from orchestrator.preflight.judge import judge_check
from orchestrator.preflight.model import Context, Finding, Level, NoAnswer, Remedy, Status
from orchestrator.preflight.reach.attempts import Outcome, Way
from orchestrator.preflight.reach.faults import attribute
from orchestrator.preflight.reach.firewall import Chain, Firewall
from orchestrator.preflight.reach.link import Link, subnet_of
from orchestrator.preflight.reach.listeners import CannotListen
from orchestrator.preflight.reach.load import Load
from orchestrator.preflight.reach.reachability import Defences, Reachability, peers
from orchestrator.preflight.reach.tcp import CHECKS

from ..contexts import brief, make_context, plan_names

BIND, TCP = (partial(judge_check, check) for check in CHECKS)

OPEN = Firewall(None, None, (), None)
UNSEEN = Firewall(None, None, (), "it takes root to see them")
ON = Link(up=True, carrier=True, arp=True)


def chain(hook: str, *, blocks: bool = True, priority: int = 0, name: str = "c") -> Chain:
    return Chain("nft", "inet", "site", name, hook, priority, blocks, plain=True)


def rules(*chains: Chain) -> Firewall:
    return Firewall(None, None, chains, None)


SHUT_IN, SHUT_OUT = rules(chain("input")), rules(chain("output"))
LET_IN = (
    "nft insert rule inet site c ip saddr 198.18.0.0/24 tcp dport '{ 29500, 32768-60999 }' accept"
)
LET_OUT = LET_IN.replace("saddr", "daddr")


def failing(result: str, seconds: float = 4.0, **more: Any) -> Outcome:
    return Outcome(result, seconds, local="198.18.0.9", **more)


PASSED = Outcome("ok", 0.0002, local="198.18.0.9", seen="198.18.0.9")
DROPPED = failing("timeout")
REFUSED = failing("refused", 0.001)


def reached(
    n: int,
    fails: Mapping[tuple[str, str], Outcome],
    firewalls: Mapping[str, Firewall | NoAnswer] | None = None,
    links: Mapping[str, Link] | None = None,
    main_port: Mapping[str, Outcome] | None = None,
    level: Level = Level.FULL,
    **more: Any,
) -> Context:
    """A context in which only these (source, target) fail on ephemeral ports, these on the main port."""
    names = plan_names(n)
    ways = [
        Way(names[i], names[j], "ephemeral")
        for i, chosen in enumerate(peers(names, level))
        for j in chosen
    ]
    outcomes = {way: fails.get((way.source, way.target), PASSED) for way in ways}
    outcomes |= {Way(name, "node0", "main"): (main_port or {}).get(name, PASSED) for name in names}
    defences = {
        name: Defences(
            (firewalls or {}).get(name, OPEN), (32768, 60999), (links or {}).get(name, ON)
        )
        for name in names
    }
    faults = tuple(attribute(names, outcomes))
    return make_context(
        n, measured={Reachability: Reachability(outcomes, {}, None, faults, defences, **more)}
    )


def column(n: int, target: str, outcome: Outcome) -> dict[tuple[str, str], Outcome]:
    return {(name, target): outcome for name in plan_names(n)}


def row(n: int, source: str, outcome: Outcome) -> dict[tuple[str, str], Outcome]:
    return {(source, name): outcome for name in plan_names(n)}


def wrong(findings: Sequence[Finding]) -> tuple[Finding, Remedy]:
    (finding,) = [finding for finding in findings if finding.status is not Status.PASS]
    assert finding.remedy is not None
    return finding, finding.remedy


def test_free_port_and_open_ways_pass() -> None:
    good = reached(3, {})
    assert brief(BIND(good)) == [("pass", "node0")]
    assert brief(TCP(good)) == [("pass", "node0,node1,node2")]


def test_main_port_taken_fails_with_the_process_that_has_it() -> None:
    error = PlanError(
        "port 29500 on 198.18.0.10 is taken by PID 7 of user bob: nc", node="node0", remedy="end it"
    )
    finding, remedy = wrong(BIND(replace(reached(2, {}), trouble={"net.bind": error})))
    assert finding.message == "port 29500 on 198.18.0.10 is taken by PID 7 of user bob: nc"
    assert (finding.status, remedy.text, remedy.commands) == (Status.FAIL, "end it", ())


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        (CannotListen("Address already in use", errno.EADDRINUSE), "fail"),
        (CannotListen("Permission denied", errno.EACCES), "fail"),
        (NoAnswer("no answer"), "incomplete"),
    ],
)
def test_main_port_that_orch_cannot_listen_on_does_not_pass(problem: NoAnswer, status: str) -> None:
    good = reached(2, {})
    found = replace(good.measured[Reachability], main_port=problem)
    bad = replace(good, measured={Reachability: found})
    assert brief(BIND(bad)) == [(status, "node0")]
    assert brief(TCP(bad)) == [("incomplete", "node0"), ("pass", "node1")]


def test_main_address_that_is_not_its_own_warns() -> None:
    good = reached(2, {})
    away = replace(good, plan=replace(good.plan, main_address="203.0.113.7"))
    assert brief(BIND(away)) == [("warn", "node0")]


def test_reachability_not_measured_is_incomplete() -> None:
    unmeasured = make_context(2)
    assert brief(BIND(unmeasured)) == [("incomplete", "node0")]
    assert brief(TCP(unmeasured)) == [("incomplete", "node0,node1")]
    good = reached(3, {})
    found = replace(good.measured[Reachability], silent={"node2": NoAnswer("it has gone")})
    assert brief(TCP(replace(good, measured={Reachability: found}))) == [
        ("incomplete", "node2"),
        ("pass", "node0,node1"),
    ]


def test_inbound_filter_is_opened_on_its_node() -> None:
    fails = column(4, "node2", DROPPED)
    finding, remedy = wrong(TCP(reached(4, fails, {"node2": SHUT_IN})))
    assert finding.nodes == remedy.nodes == ("node2",)
    assert finding.message == (
        "is not reachable from any other node, but the other direction works: no answer in 4 s, so "
        "packets are dropped (by its own nftables rules)"
    )
    assert remedy.commands == (LET_IN,)


def test_same_filter_on_several_nodes_is_one_finding() -> None:
    fails = column(4, "node2", DROPPED) | column(4, "node3", DROPPED)
    finding, remedy = wrong(TCP(reached(4, fails, {"node2": SHUT_IN, "node3": SHUT_IN})))
    assert finding.nodes == remedy.nodes == ("node2", "node3")


def test_same_filter_on_several_nodes_in_a_ring_is_one_finding() -> None:
    names = plan_names(16)[4:9]
    fails = {pair: DROPPED for name in names for pair in column(16, name, DROPPED)}
    finding, _ = wrong(TCP(reached(16, fails, dict.fromkeys(names, SHUT_IN), level=Level.QUICK)))
    assert finding.nodes == tuple(names)
    assert finding.message.startswith("is not reachable from any other node that was tried, but ")


def test_filter_that_is_not_the_nodes_own_points_to_the_cloud() -> None:
    finding, remedy = wrong(TCP(reached(4, column(4, "node2", DROPPED))))
    assert finding.message.endswith("(not by its own rules)")
    assert "security group" in remedy.text
    assert remedy.commands == ()


def test_unreadable_rules_are_not_mentioned() -> None:
    for unseen in (UNSEEN, NoAnswer("it timed out")):
        fails = column(4, "node2", DROPPED)
        finding, remedy = wrong(TCP(reached(4, fails, {"node2": unseen})))
        assert finding.message.endswith("packets are dropped")
        assert "security group" in remedy.text


def test_outbound_filter_is_opened_on_its_node() -> None:
    finding, remedy = wrong(TCP(reached(4, row(4, "node1", DROPPED), {"node1": SHUT_OUT})))
    assert finding.message.startswith(
        "does not reach any other node, but the other direction works: "
    )
    assert remedy.commands == (LET_OUT,)


@pytest.mark.parametrize(
    ("firewalls", "nodes", "commands"),
    [
        ({"node1": SHUT_IN}, ("node1",), (LET_IN,)),
        ({"node0": SHUT_OUT}, ("node0",), (LET_OUT,)),
        ({"node0": SHUT_IN, "node1": SHUT_OUT}, ("node0", "node1"), ()),
        ({}, ("node0", "node1"), ()),
    ],
)
def test_timeout_between_two_nodes_is_attributed_by_their_rules(
    firewalls: Mapping[str, Firewall], nodes: tuple[str, ...], commands: tuple[str, ...]
) -> None:
    findings = TCP(reached(2, {("node0", "node1"): DROPPED}, firewalls))
    bad = [finding for finding in findings if finding.status is Status.FAIL]
    assert tuple(sorted(name for finding in bad for name in finding.nodes)) == nodes
    assert all(finding.remedy and finding.remedy.commands == commands for finding in bad)
    if not commands:
        ends = "(a filter for input at node1 and one for output at node0 look the same from here)"
        assert all(finding.message.endswith(ends) for finding in bad)


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        (REFUSED, "refused at once with a TCP reset, though orch listens there"),
        (
            failing("unreachable", 0.001, icmp=(3, 13), by="198.18.0.12"),
            "rejected at once with ICMP (administratively prohibited) by the receiver",
        ),
        (
            failing("unreachable", 0.001, icmp=(3, 9), by="203.0.113.1"),
            "rejected at once with ICMP (network prohibited) by 203.0.113.1 on the way",
        ),
        (failing("silent", 4.1), "accepted, then silent for 4 s"),
        (failing("reset", 0.1), "accepted, and closed at once, but not by orch"),
        (
            failing("foreign", 0.1, detail="SSH-2.0-x"),
            "another service answers with 'SSH-2.0-x' instead of orch's listener",
        ),
        (failing("error", 0.1, detail="out of memory"), "failed with 'out of memory'"),
        (failing("nonsense", 0.1), "failed with 'nonsense'"),
    ],
)
def test_message_has_what_was_measured(outcome: Outcome, says: str) -> None:
    finding, _ = wrong(TCP(reached(4, column(4, "node2", outcome))))
    assert says in finding.message


def test_busy_node_is_not_reported_as_dropped_packets() -> None:
    made = reached(4, column(4, "node2", DROPPED))
    found = made.measured[Reachability]
    stuck = {**found.outcomes, Way("node2", "node2", "ephemeral"): failing("silent", 12.0)}
    busy = {"node2": replace(found.defences["node2"], load=Load(63.4, 2))}
    found = replace(found, outcomes=stuck, defences={**found.defences, **busy})
    finding, remedy = wrong(TCP(replace(made, measured={Reachability: found})))
    assert "dropped" not in finding.message
    assert (
        "no answer in 4 s, and it (load 63 on 2 cores) does not answer itself either: it is too busy"
        in finding.message
    )
    assert remedy.text.startswith("see what keeps it (load 63 on 2 cores) busy, and try again; ")


def test_late_answers_warn_and_name_the_busy_node() -> None:
    made = reached(4, {})
    found = made.measured[Reachability]
    late = {
        way: replace(outcome, is_late=True)
        for way, outcome in found.outcomes.items()
        if way.target == "node2"
    }
    busy = Defences(load=Load(63.4, 2))
    found = replace(found, outcomes={**found.outcomes, **late}, defences={"node2": busy})
    warning, fine = TCP(replace(made, measured={Reachability: found}))
    assert (warning.status, warning.nodes) == (Status.WARN, ("node2",))
    assert warning.message == (
        "answers others, but not in 4 s: it is too busy (load 63 on 2 cores)"
    )
    assert fine.nodes == ("node0", "node1", "node3")


def test_full_table_of_neighbours_is_its_own_verdict() -> None:
    finding, remedy = wrong(TCP(reached(4, row(4, "node1", failing("table-full", 4.0)))))
    assert finding.nodes == remedy.nodes == ("node1",)
    assert "table of neighbours is full" in finding.message
    assert "dropped" not in finding.message
    assert remedy.commands[-1] == "sysctl -p /etc/sysctl.d/90-neighbours.conf"


def test_message_tells_if_the_node_does_not_reach_its_own_listener() -> None:
    made = reached(3, column(3, "node1", REFUSED))
    found = made.measured[Reachability]
    found = replace(found, outcomes={**found.outcomes, Way("node1", "node1", "ephemeral"): REFUSED})
    finding, _ = wrong(TCP(replace(made, measured={Reachability: found})))
    assert "refused at once with a TCP reset, also from itself" in finding.message


@pytest.mark.parametrize(
    ("node", "devices", "status"),
    [("node0", 1, "fail"), ("node1", 1, "warn"), ("node1", 2, "fail")],
)
def test_node_that_does_not_reach_itself_fails_if_its_ranks_must(
    node: str, devices: int, status: str
) -> None:
    way = Way(node, node, "ephemeral")
    outcomes = {Way("node0", "node1", "ephemeral"): PASSED, way: DROPPED}
    found = Reachability(outcomes, faults=tuple(attribute(plan_names(2), outcomes)))
    job = Job("train.py", devices=devices)
    finding, remedy = wrong(TCP(make_context(2, job=job, measured={Reachability: found})))
    assert (finding.status.value, finding.nodes) == (status, (node,))
    assert "does not reach itself" in finding.message
    assert "lo" in remedy.text.split()


def test_main_that_does_not_reach_its_translated_address_fails() -> None:
    outcomes = {Way("node1", "node0", "main"): PASSED, Way("node0", "node0", "main"): DROPPED}
    found = Reachability(outcomes, faults=tuple(attribute(plan_names(2), outcomes)))
    made = make_context(2, measured={Reachability: found})
    away = replace(made, plan=replace(made.plan, main_address="203.0.113.7"))
    finding, remedy = wrong(TCP(away))
    assert (finding.status, finding.nodes) == (Status.FAIL, ("node0",))
    assert finding.message.startswith("does not reach itself at 203.0.113.7")
    assert "--main-address" in remedy.text


def test_missing_route_has_the_command_that_adds_it() -> None:
    fails = row(3, "node2", failing("no-route", 0.0)) | column(3, "node2", DROPPED)
    finding, remedy = wrong(TCP(reached(3, fails)))
    assert finding.nodes == ("node2",)
    assert remedy.commands == ("ip route add 198.18.0.0/24 dev eth0 src 198.18.0.12",)


@pytest.mark.parametrize(
    ("link", "commands"),
    [
        (Link(up=True, carrier=True, arp=False), ("ip link set dev eth0 arp on",)),
        (Link(up=False, carrier=None, arp=True), ("ip link set dev eth0 up",)),
        (Link(up=True, carrier=False, arp=True), ()),
        (ON, ()),
    ],
)
def test_node_that_does_not_answer_arp_is_brought_up_or_checked(
    link: Link, commands: tuple[str, ...]
) -> None:
    lost = failing("unreachable", 3.07, icmp=(3, 1), by="198.18.0.9")
    fails = column(3, "node1", lost) | row(3, "node1", DROPPED)
    finding, remedy = wrong(TCP(reached(3, fails, links={"node1": link})))
    assert finding.nodes == ("node1",)
    assert "no route to host after 3 s, as no host answers ARP" in finding.message
    assert remedy.commands == commands


def test_unknown_neighbour_between_two_nodes_is_attributed_to_the_interface_that_is_off() -> None:
    lost = failing("unreachable", 3.07, icmp=(3, 1), by="198.18.0.9")
    off, shut = {"node1": Link(up=True, carrier=True, arp=False)}, {"node1": lost}
    finding, _ = wrong(
        TCP(reached(2, {("node0", "node1"): lost, ("node1", "node0"): lost}, {}, off, shut))
    )
    assert finding.nodes == ("node1",)


def test_only_the_main_port_open_is_reported() -> None:
    finding, remedy = wrong(TCP(reached(3, column(3, "node0", DROPPED), {"node0": SHUT_IN})))
    assert finding.message.startswith(
        "is reachable from any other node only on the main port 29500, not "
    )
    assert remedy.commands == (LET_IN,)


def test_only_the_main_port_open_on_all_nodes_is_one_finding() -> None:
    fails = {(a, b): DROPPED for a in plan_names(3) for b in plan_names(3)}
    finding, _ = wrong(TCP(reached(3, fails, dict.fromkeys(plan_names(3), SHUT_IN))))
    assert finding.nodes == tuple(plan_names(3))
    assert finding.message.startswith(
        "no node reaches any other, except main on its main port 29500: "
    )


def test_redirected_main_port_is_exempted() -> None:
    foreign = failing("foreign", 0.01, detail="HTTP/1.1 400")
    nat = chain("prerouting", blocks=False, priority=-100, name="pre")
    there = {"node1": foreign, "node2": foreign}
    finding, remedy = wrong(TCP(reached(3, {}, {"node0": rules(nat)}, main_port=there)))
    assert finding.nodes == ("node0",)
    assert remedy.commands == (
        "nft insert rule inet site pre ip saddr 198.18.0.0/24 tcp dport 29500 accept",
    )


def test_translated_source_warns_with_the_command_that_exempts_it() -> None:
    seen = replace(PASSED, seen="203.0.113.9")
    nat = chain("postrouting", blocks=False, priority=100, name="post")
    finding, remedy = wrong(TCP(reached(3, row(3, "node1", seen), {"node1": rules(nat)})))
    assert (finding.status, finding.nodes) == (Status.WARN, ("node1",))
    assert finding.message.startswith(
        "is seen as 203.0.113.9 by node[0,2] instead of its address 198.18.0.9: "
    )
    assert remedy.commands == ("nft insert rule inet site post ip daddr 198.18.0.0/24 accept",)


def test_two_blocks_are_reported_with_each_other() -> None:
    left, right = ("node0", "node1"), ("node2", "node3")
    fails = {(a, b): DROPPED for a in left for b in right}
    fails |= {(b, a): DROPPED for a in left for b in right}
    findings = TCP(reached(4, fails, main_port={"node2": DROPPED, "node3": DROPPED}))
    assert [(f.nodes, f.message.partition(":")[0]) for f in findings] == [
        (right, "does not reach node[0-1], and is not reachable from there"),
        (left, "does not reach node[2-3], and is not reachable from there"),
    ]


def test_reply_of_another_service_is_shortened() -> None:
    foreign = failing("foreign", 0.01, detail="x" * 10_000)
    finding, _ = wrong(TCP(reached(3, {}, main_port={"node1": foreign, "node2": foreign})))
    assert len(finding.message) < 400


@pytest.mark.parametrize(
    ("addresses", "network"),
    [
        (["198.18.0.1", "198.18.0.2"], "198.18.0.0/30"),
        (["198.18.0.1", "198.19.0.2"], "198.18.0.0/15"),
        (["198.18.0.1", None], "198.18.0.1/32"),
        ([None, None], None),
        (["198.18.0.1", "fd00::1"], None),
    ],
)
def test_subnet_of_without_a_shared_subnet_is_the_smallest_that_has_all(
    addresses: list[str | None], network: str | None
) -> None:
    made = make_context(2)
    nodes = tuple(
        replace(node, address=address)
        for node, address in zip(made.plan.nodes, addresses, strict=True)
    )
    routed = replace(made, plan=replace(made.plan, subnet=None, nodes=nodes))
    found = subnet_of(routed)
    assert found == network
    assert found is None or all(
        ipaddress.ip_address(a) in ipaddress.ip_network(found) for a in addresses if a
    )
