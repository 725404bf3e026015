"""Names: what each node resolves the other nodes' names to."""

from __future__ import annotations

import ipaddress
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from orchestrator.preflight.answers import reader
from orchestrator.preflight.judge import between_machines, judge_nodes, most_common
from orchestrator.preflight.model import (
    Context,
    Finding,
    Group,
    NodeContext,
    Probe,
    Remedy,
    check,
)
from orchestrator.preflight.verdict import Verdict, passed, warn
from orchestrator.util.quoting import command_line
from orchestrator.util.text import first_few

_ORDINARY = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")  # a name that can stand in /etc/hosts
_MAX_ENTRIES = 32  # of /etc/hosts, in a line to paste


def _address(raw: Any) -> str:
    return str(ipaddress.ip_address(str(raw).split("%")[0]))  # a link-local one ends in %INTERFACE


@dataclass(frozen=True)
class Resolved:
    """What a name is on a node: `addresses` in the order of its resolver, or the `error`."""

    addresses: tuple[Annotated[str, _address], ...]
    error: str | None

    def __str__(self) -> str:
        return " ".join(self.addresses) or f"nothing ({self.error or 'no address'})"


NAMES = Probe(
    "names.resolve", reader(dict[str, Resolved]), lambda node: {"names": _names(node.context)}
)


@check("net.dns", Group.REACHABILITY, probes=(NAMES,))
@between_machines
def check_dns(context: Context) -> list[Finding]:
    """Every node resolves the names of all nodes to the same addresses.

    Every node resolves the host names of all nodes, their names in the inventory, and their addresses for
    SSH if those are names. Warns if one node's answer differs from that of most, or is none, and if no
    other node knows a host name. It never fails, because orch gives the job addresses, not names. DNS or
    /etc/hosts fixes it.
    """
    answers = context.answers_to(NAMES)
    unknown: list[str] = []
    differing: dict[str, list[str]] = defaultdict(list)  # by node, what it resolves differently
    for name in _names(context):
        views = _views(context, name, answers)
        known = {node: frozenset(v.addresses) for node, v in views.items() if v.addresses}
        if not known:
            if views and name in _hostnames(context):
                unknown.append(name)
            continue  # a name of the inventory alone need not exist on the nodes
        common = most_common(known) or frozenset()
        for node, view in views.items():
            if frozenset(view.addresses) != common:
                text = f"{name} to {view}, others to {' '.join(sorted(common))}"
                differing[node].append(text)

    def verdict(node: NodeContext) -> Iterator[Verdict]:
        node.answer(NAMES)
        if node.name in differing:
            yield warn(
                f"resolves {first_few(differing[node.name], comma='; ')}",
                "make DNS, or /etc/hosts, the same on all nodes; orch itself uses addresses",
            )
        elif not unknown and len(answers) > 1:
            yield passed("resolves the nodes' names as the others do")

    return [*_unknown(context, unknown), *judge_nodes(context, verdict)]


def _views(
    context: Context, name: str, answers: Mapping[str, Mapping[str, Resolved]]
) -> dict[str, Resolved]:
    """Return what `name` is on each node but its own, where it may well be loopback."""
    return {
        node.name: answers[node.name].get(name, Resolved((), "not answered"))
        for node in context.nodes
        if node.name in answers
        and name not in (node.facts.hostname, node.host.name, node.host.address)
    }


def _unknown(context: Context, hostnames: list[str]) -> list[Finding]:
    """Return the finding for the nodes with these host names, which no other node resolves."""
    owners = [node for node in context.nodes if node.facts.hostname in hostnames]
    if not owners:
        return []
    entries = [
        f"{node.plan.address} {node.facts.hostname}"
        for node in owners
        if node.plan.address and _ORDINARY.fullmatch(node.facts.hostname)
    ]
    add = 'grep -qxF "$e" /etc/hosts || echo "$e" >> /etc/hosts'
    line = f"for e in {command_line(entries)}; do {add}; done"
    remedy = Remedy(
        "put these names into DNS, or into every node's /etc/hosts; orch itself uses addresses",
        (line,) if 0 < len(entries) <= _MAX_ENTRIES else (),
        context.names,
    )
    finding = warn(
        "cannot be found by host name from any other node: what connects by name (c10d's rendezvous) fails",
        data={node.name: {"hostname": node.facts.hostname} for node in owners},
    ).on([node.name for node in owners])
    return [replace(finding, remedy=remedy)]


def _names(context: Context) -> list[str]:
    """Return every name of a node: its own, the inventory's, and the one for SSH."""
    names = dict.fromkeys(_hostnames(context))
    for node in context.nodes:
        names.update(dict.fromkeys((node.host.name, node.host.address)))
    return [name for name in names if not _is_address(name)]


def _hostnames(context: Context) -> list[str]:
    return [facts.hostname for facts in context.facts]


def _is_address(name: str) -> bool:
    try:
        _address(name)
    except ValueError:
        return False
    return True
