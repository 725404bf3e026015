"""Names: what each node resolves its own name to."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from orchestrator.preflight.answers import reader
from orchestrator.preflight.hosts import dns
from orchestrator.preflight.hosts.dns import Resolved
from orchestrator.preflight.judge import between_machines, judge_nodes
from orchestrator.preflight.model import Context, Finding, Group, Level, NodeContext, Probe, check
from orchestrator.preflight.verdict import Verdict, fail, passed, warn
from orchestrator.util.groups import grouped
from orchestrator.util.quoting import command_line
from orchestrator.util.text import printable


@dataclass(frozen=True)
class OwnName(Resolved):
    """A node's own name, and what it resolves to there."""

    hostname: str


OWN_NAME = Probe("names.own_name", reader(OwnName))


@check("host.name", Group.HOST, Level.QUICK, probes=(OWN_NAME,))
@between_machines
def check_own_name(context: Context) -> list[Finding]:
    """A node's own name resolves to an address that the others can reach.

    What `getaddrinfo(gethostname())` returns on each node. gloo and torchrun's c10d rendezvous tell the
    peers to connect to that address: if it is in 127.0.0.0/8 (Debian's 127.0.1.1), or there is none, the
    job hangs. Warns if GLOO_SOCKET_IFNAME is set, which orch does on every node unless you or the login
    did, and fails if it is not. The line that fixes it writes the node's address on the shared network into
    /etc/hosts; if cloud-init writes that file (`manage_etc_hosts`), turn that off. Two machines with one
    host name warn.
    """
    return judge_nodes(context, _judge_own_name) + _same_names(context)


def _judge_own_name(node: NodeContext) -> Verdict:
    found = node.answer(OWN_NAME)
    data = {"hostname": found.hostname, "addresses": list(found.addresses)}
    own = {str(item.ip) for interface in node.facts.interfaces for item in interface.addresses}
    first = next(iter(found.addresses), None)
    if first is None:
        fault = f"does not resolve its own name ({found.error or 'no address'})"
    elif ipaddress.ip_address(first).is_loopback:
        fault = f"resolves its own name to {first}"
    elif first not in own:
        fault = f"resolves its own name to {first}, which is not an address of its own"
    else:
        return passed("resolves its own name to its own address", data=data)
    line = _hosts_line(node)
    text = "add the node's name and its address on the shared network to /etc/hosts"
    # Set by orch, by the user, or by the login.
    job = {**node.facts.environment, **node.plan.environment}
    if job.get("GLOO_SOCKET_IFNAME", "").strip():
        return warn(
            f"{fault}: jobs of orch are not affected (GLOO_SOCKET_IFNAME is set), others would tell their "
            "peers to connect there",
            f"for jobs that orch does not start, {text}",
            line,
            data,
        )
    return fail(
        f"{fault}, and GLOO_SOCKET_IFNAME is not set: gloo would tell its peers to connect there",
        f"{text}, or set GLOO_SOCKET_IFNAME to the interface that the nodes share",
        line,
        data,
    )


def _hosts_line(node: NodeContext) -> tuple[str, ...]:
    """Return the line that corrects /etc/hosts; it may be run again.

    It is the same on all nodes of a subnet, so that one finding has them all. The file is written in place,
    never replaced: in a container it is a mount.
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
        # Remove the name from loopback lines, and lines left without a name; then add its own line.
        'h=$(sed "/^\\(127\\.\\|::1\\)/s/[[:space:]]$n\\>[^[:space:]]*//g; '
        '/^127[0-9.]*[[:space:]]*$/d; /^$a $n$/d" /etc/hosts) && '
        'printf "%s\\n" "$h" "$a $n" > /etc/hosts'
    )
    return (command_line(["sh", "-c", script]),)


def _same_names(context: Context) -> list[Finding]:
    """Return the findings for machines with one host name; containers of one machine are host.unique's."""
    by_name = grouped((node.facts.hostname, node) for node in context.nodes)
    return [
        warn(
            f"are all called {printable(hostname, 64)}: a connection by host name may reach the wrong one, "
            "and their logs look the same",
            "give each machine a name of its own with `hostnamectl set-hostname`",
        ).on([node.name for node in nodes])
        for hostname, nodes in by_name.items()
        if len({node.facts.identity.partition("/")[0] for node in nodes}) > 1
    ]


CHECKS = (check_own_name, dns.check_dns)
