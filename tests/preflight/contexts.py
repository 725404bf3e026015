"""Contexts for tests of verdicts: nodes, a plan for them, and their answers."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.inventory import Host
from orchestrator.plan import Facts, Interface, Job, Network, make_plan
from orchestrator.preflight.model import Context, Finding, Level, Probe

SUBNET = "198.18.0.0/24"


def interface(name: str, *addresses: str, speed: int | None = None) -> Interface:
    return Interface(
        name, tuple(ipaddress.ip_interface(a) for a in addresses), speed, loopback=name == "lo"
    )


def facts(index: int, **more: Any) -> Facts:
    """Return the facts of node `index`: a machine of its own, 198.18.0.(10 + index) on eth0."""
    fields: dict[str, Any] = {
        "hostname": f"node{index}",
        "identity": f"boot{index}/net:[{index}]",
        "uid": 0,
        "home": "/root",
        "python_version": "3.11.7",
        "cpus": 8,
        "gpus": 0,
        "rsync": "/usr/bin/rsync",
        "interfaces": (
            interface("lo", "127.0.0.1/8"),
            interface("eth0", f"198.18.0.{10 + index}/24"),
        ),
        "ssh_address": f"198.18.0.{10 + index}",
        "clock_skew": 0.0,
        "environment": {},
    }
    return Facts(**{**fields, **more})


def make_context(
    n: int = 3,
    *,
    facts_of: Mapping[int, Mapping[str, Any]] | None = None,
    host_of: Mapping[int, Mapping[str, Any]] | None = None,
    answers: Mapping[str, Sequence[Any]] | None = None,
    job: Job | None = None,
    launcher: str = "torchrun",
    port: int = 29500,
    **more: Any,
) -> Context:
    """Return the context of node0 to node(n-1), with node0 as main at 198.18.0.10.

    `facts_of` and `host_of` have what differs at some positions; `answers` has, by the name of a probe, the
    (parsed) answer of each node in order. `more` are fields of the context.
    """
    hosts = [
        Host(name=f"node{i}", address=f"198.18.0.{10 + i}", **(host_of or {}).get(i, {}))
        for i in range(n)
    ]
    all_facts = tuple(facts(i, **(facts_of or {}).get(i, {})) for i in range(n))
    job = job or Job("train.py", launcher=launcher)
    network = Network(
        "198.18.0.10",
        tuple("eth0" for _ in hosts),
        SUBNET,
        tuple(f"198.18.0.{10 + i}" for i in range(n)),
    )
    plan = make_plan("calm-fox", hosts, all_facts, job, network, port)
    found = {
        name: dict(zip(plan_names(n), values, strict=True))
        for name, values in (answers or {}).items()
    }
    return Context(
        plan=plan,
        job=job,
        facts=all_facts,
        level=more.pop("level", Level.FULL),
        answers=found,
        **more,
    )


def plan_names(n: int) -> list[str]:
    return [f"node{i}" for i in range(n)]


def answered(probe: Probe[Any], *raw: Any) -> dict[str, list[Any]]:
    """Return the `answers` of a context in which the nodes answered `probe` with these JSON values."""
    return {probe.name: [probe.parse(value) for value in raw]}


def brief(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    """Return (status, folded node names) of each finding."""
    return [(finding.status.value, ",".join(finding.nodes)) for finding in findings]
