"""Names: what each node takes its own name to be."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from orchestrator.preflight.answers import text
from orchestrator.preflight.hosts import dns
from orchestrator.preflight.hosts.dns import Resolved
from orchestrator.preflight.judge import between_machines, judge_each
from orchestrator.preflight.model import (
    Context,
    Finding,
    Group,
    Level,
    NodeContext,
    Probe,
    Remedy,
    Status,
    check,
)
from orchestrator.preflight.verdict import Verdict, fail, passed, warn
from orchestrator.util.quoting import command_line
from orchestrator.util.text import printable


@dataclass(frozen=True)
class OwnName:
    """What a node calls itself, and what it takes that to be."""

    hostname: str
    resolved: Resolved

    @classmethod
    def parse(cls, raw: Any) -> OwnName:
        return cls(text(raw["hostname"]), Resolved.parse(raw))


OWN_NAME = Probe("names.own_name", OwnName.parse)


@check("host.name", Group.HOST, Level.QUICK, probes=(OWN_NAME,))
@between_machines
def check_own_name(context: Context) -> list[Finding]:
    """A node's own name leads to an address that the others can reach.

    What `getaddrinfo(gethostname())` says on each node. gloo and torchrun's c10d rendezvous tell the peers
    to connect to that address: in 127.0.0.0/8 (Debian's 127.0.1.1), or where there is none, the job hangs.
    It warns where GLOO_SOCKET_IFNAME is set, which orch does on every node unless you or the login did, and
    fails where it is not. The line that mends it puts the node's address on the shared network into
    /etc/hosts; where cloud-init writes that file (`manage_etc_hosts`), turn that off. Two machines with one
    host name warn.
    """
    return judge_each(context, OWN_NAME, _judge_own_name) + _same_names(context)


def _judge_own_name(node: NodeContext, found: OwnName) -> Verdict:
    data = {"hostname": found.hostname, "addresses": list(found.resolved.addresses)}
    mine = {str(item.ip) for interface in node.facts.interfaces for item in interface.addresses}
    first = next(iter(found.resolved.addresses), None)
    if first is None:
        fault = f"does not resolve its own name ({found.resolved.error or 'no address'})"
    elif ipaddress.ip_address(first).is_loopback:
        fault = f"resolves its own name to {first}"
    elif first not in mine:
        fault = f"resolves its own name to {first}, which is no address of its own"
    else:
        return passed("resolves its own name to its own address", data=data)
    commands = _own_line(node)
    text = "put the node's address on the shared network beside its name in /etc/hosts"
    if _pinned(node):
        return warn(
            f"{fault}: orch's jobs do not mind (GLOO_SOCKET_IFNAME is set), others would have their "
            "peers connect there",
            f"for jobs that orch does not start, {text}",
            commands,
            data,
        )
    return fail(
        f"{fault}, and nothing pins gloo to an interface: it would have its peers connect there",
        f"{text}, or set GLOO_SOCKET_IFNAME to the interface that the nodes share",
        commands,
        data,
    )


def _pinned(node: NodeContext) -> bool:
    """Return whether gloo is told which interface to take: by orch, by the user, or by the login."""
    job = {**node.facts.environment, **node.plan.environment}
    return bool(job.get("GLOO_SOCKET_IFNAME", "").strip())


def _own_line(node: NodeContext) -> tuple[str, ...]:
    """Return the line that corrects /etc/hosts, and does no harm when it is run again.

    It is the same on all nodes of a subnet, so that they can be told at once. The file is written in
    place, never replaced: in a container it is a mount.
    """
    subnet, own = node.context.plan.subnet, node.plan.address
    if subnet is not None:
        # The first of its addresses there; in `ip -o` the word after inet or inet6.
        find = f'$(ip -o addr show to {subnet} | sed -n "1s/.* inet6* \\([^/]*\\).*/\\1/p")'
    elif own is not None:
        find = own
    else:
        return ()
    script = (
        f'a={find}; n=$(hostname); [ -n "$a" ] && '
        # No loopback line has the name any longer, or only it; then its own line, once.
        'h=$(sed "/^\\(127\\.\\|::1\\)/s/[[:space:]]$n\\>[^[:space:]]*//g; '
        '/^127[0-9.]*[[:space:]]*$/d; /^$a $n$/d" /etc/hosts) && '
        'printf "%s\\n" "$h" "$a $n" > /etc/hosts'
    )
    return (command_line(["sh", "-c", script]),)


def _same_names(context: Context) -> list[Finding]:
    """Find machines that call themselves alike; containers of one machine are host.unique's."""
    by_name: dict[str, list[NodeContext]] = {}
    for node in context.nodes:
        by_name.setdefault(node.facts.hostname, []).append(node)
    return [
        Finding(
            Status.WARN,
            tuple(node.name for node in nodes),
            f"are all called {printable(hostname, 64)}: what finds a node by its host name finds "
            "another one, and nobody can tell their logs apart",
            Remedy(
                "give each machine a name of its own with `hostnamectl set-hostname`",
                (),
                tuple(node.name for node in nodes),
            ),
        )
        for hostname, nodes in by_name.items()
        if len({node.facts.identity.partition("/")[0] for node in nodes}) > 1
    ]


CHECKS = (check_own_name, dns.check_dns)
