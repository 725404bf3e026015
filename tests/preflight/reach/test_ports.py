"""Verdicts on port ranges and listen queues."""

from __future__ import annotations

from orchestrator.plan import Job
from orchestrator.preflight.judge import judge_check
from orchestrator.preflight.model import Check, Finding, Status
from orchestrator.preflight.reach.firewall import PORT_RANGE
from orchestrator.preflight.reach.ports import CHECKS, SOMAXCONN

from ..contexts import answered, brief, make_context

PORTRANGE, SOMAXCONN_CHECK = CHECKS


def found(check: Check, *raw: object, world: int | None = None) -> list[Finding]:
    probe = check.probes[0]
    job = Job("train.py", launcher="torchrun", devices=world)
    return judge_check(check, make_context(len(raw), answers=answered(probe, *raw), job=job))


def test_portrange_shows_the_range_that_a_firewall_must_allow() -> None:
    (finding,) = found(PORTRANGE, [32768, 60999], [32768, 60999])
    assert finding.status is Status.PASS
    assert "32768-60999" in finding.message
    assert PORTRANGE.probes == (PORT_RANGE,)


def test_portrange_with_too_few_ports_warns() -> None:
    first, second = found(PORTRANGE, [32768, 60999], [50000, 50099], [32768, 60999])
    assert brief([first, second]) == [("warn", "node1"), ("pass", "node0,node2")]
    assert "only 100 ephemeral ports" in first.message
    assert first.remedy is not None
    assert first.remedy.commands == ('sysctl -w net.ipv4.ip_local_port_range="32768 60999"',)


def test_portrange_other_than_most_warns() -> None:
    first, _ = found(PORTRANGE, [32768, 60999], [32768, 60999], [1024, 65535])
    assert (first.status, first.nodes) == (Status.WARN, ("node2",))
    assert "1024-65535" in first.message and "32768-60999" in first.message


def test_portrange_with_swapped_ends_has_no_ports() -> None:
    (finding,) = found(PORTRANGE, [60999, 32768])
    assert finding.status is Status.WARN and "only 0 " in finding.message


def test_somaxconn_below_the_world_size_warns() -> None:
    findings = found(SOMAXCONN_CHECK, 128, 4096, world=100)
    assert brief(findings) == [("warn", "node0"), ("pass", "node1")]
    assert findings[0].remedy is not None
    assert findings[0].remedy.commands == ("sysctl -w net.core.somaxconn=4096",)
    assert SOMAXCONN_CHECK.probes == (SOMAXCONN,)


def test_somaxconn_of_at_least_the_world_size_passes() -> None:
    assert brief(found(SOMAXCONN_CHECK, 128, 128, world=64)) == [("pass", "node0,node1")]


def test_ports_not_measured_are_incomplete() -> None:
    for check in CHECKS:
        assert brief(list(judge_check(check, make_context(2)))) == [("incomplete", "node0,node1")]
