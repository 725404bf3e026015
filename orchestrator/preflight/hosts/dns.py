"""Names: what each node takes the others' names to be."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.preflight.answers import optional, text
from orchestrator.preflight.judge import between_machines, for_all, most_common, to_findings
from orchestrator.preflight.model import (
    Context,
    Finding,
    Group,
    NoAnswer,
    Probe,
    Remedy,
    Status,
    check,
)
from orchestrator.preflight.verdict import incomplete, passed, skip, warn
from orchestrator.util.quoting import command_line
from orchestrator.util.text import first_few

_ORDINARY = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")  # a name that can stand in /etc/hosts
_MOST_NAMES = 32  # for /etc/hosts that are given to be pasted


@dataclass(frozen=True)
class Resolved:
    """What a name is on a node: `addresses` as its resolver orders them, or the `error`."""

    addresses: tuple[str, ...]
    error: str | None

    @classmethod
    def parse(cls, raw: Any) -> Resolved:
        return cls(
            # A link-local address has its interface behind a %.
            tuple(str(ipaddress.ip_address(str(item).split("%")[0])) for item in raw["addresses"]),
            optional(text, raw["error"]),
        )

    @property
    def in_words(self) -> str:
        return " ".join(self.addresses) or f"nothing ({self.error or 'no address'})"


def _parse_names(raw: Any) -> dict[str, Resolved]:
    return {str(name): Resolved.parse(answer) for name, answer in raw.items()}


NAMES: Probe[dict[str, Resolved]] = Probe(
    "names.resolve", _parse_names, lambda node: {"names": _names(node.context)}
)


@check("net.dns", Group.REACHABILITY, probes=(NAMES,))
@between_machines
def check_dns(context: Context) -> list[Finding]:
    """Every node resolves every node's name alike.

    Every node resolves the host names of all nodes, their names in the inventory, and their addresses for
    SSH where those are names. It warns where one node says something else than most, or nothing, and where
    a host name is unknown to all other nodes. It never fails, for orch hands addresses to the job, no
    names. DNS or /etc/hosts mends it.
    """
    found = context.of(NAMES)
    answers = {node: a for node, a in found.items() if not isinstance(a, NoAnswer)}
    unmeasured = to_findings(
        (node, incomplete(a.reason)) for node, a in found.items() if isinstance(a, NoAnswer)
    )
    if len(answers) < 2:
        return unmeasured or for_all(context, skip("there are no two nodes to compare"))
    unknown: list[str] = []
    apart: dict[str, list[str]] = {}  # by node, what it says unlike the others
    for name in _names(context):
        views = _views(context, name, answers)
        if not any(view.addresses for view in views.values()):
            if views and name in _hostnames(context):
                unknown.append(name)
            continue  # a name of the inventory alone need mean nothing to the nodes
        known = {node: frozenset(v.addresses) for node, v in views.items() if v.addresses}
        common = most_common(known) or frozenset()
        for node, view in views.items():
            if frozenset(view.addresses) != common:
                text = f"{name} to {view.in_words}, others to {' '.join(sorted(common))}"
                apart.setdefault(node, []).append(text)
    findings = _unknown(context, unknown) if unknown else []
    findings += to_findings(
        (
            node,
            warn(
                f"resolves {first_few(apart[node], comma='; ')}",
                "make DNS, or /etc/hosts, say the same on all nodes; orch itself uses addresses",
            )
            if node in apart
            else passed("resolves the nodes' names as the others do"),
        )
        for node in answers
        if node in apart or not unknown
    )
    return unmeasured + findings


def _views(
    context: Context, name: str, answers: Mapping[str, Mapping[str, Resolved]]
) -> dict[str, Resolved]:
    """Return what `name` is on each node, but on those that it means: they may well say loopback."""
    return {
        node.name: answers[node.name].get(name, Resolved((), "not answered"))
        for node in context.nodes
        if node.name in answers
        and name not in (node.facts.hostname, node.host.name, node.host.address)
    }


def _unknown(context: Context, hostnames: list[str]) -> list[Finding]:
    """Return what is to be said of nodes that no other node knows by its host name."""
    owners = [node for node in context.nodes if node.facts.hostname in hostnames]
    entries = [
        f"{node.plan.address} {node.facts.hostname}"
        for node in owners
        if node.plan.address and _ORDINARY.fullmatch(node.facts.hostname)
    ]
    return [
        Finding(
            Status.WARN,
            tuple(node.name for node in owners),
            "cannot be found by host name from any other node: what connects by name (c10d's rendezvous) "
            "would not get there",
            Remedy(
                "put these names into DNS, or into every node's /etc/hosts; orch itself uses addresses",
                _add_to_hosts(entries) if 0 < len(entries) <= _MOST_NAMES else (),
                context.names,
            ),
            {node.name: {"hostname": node.facts.hostname} for node in owners},
        )
    ]


def _add_to_hosts(entries: list[str]) -> tuple[str, ...]:
    """Return the line that adds to /etc/hosts what is not there yet."""
    add = 'grep -qxF "$e" /etc/hosts || echo "$e" >> /etc/hosts'
    return (f"for e in {command_line(entries)}; do {add}; done",)


def _names(context: Context) -> list[str]:
    """Return every name that a node goes by: its own, the inventory's, and the one for SSH."""
    names = dict.fromkeys(_hostnames(context))
    for node in context.nodes:
        names.update(dict.fromkeys((node.host.name, node.host.address)))
    return [name for name in names if not _is_address(name)]


def _hostnames(context: Context) -> list[str]:
    return [facts.hostname for facts in context.facts]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.split("%")[0])
    except ValueError:
        return False
    return True
