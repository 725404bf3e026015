"""Reachability of the ports that a job uses, tried with listeners of orch."""

from __future__ import annotations

import errno

from orchestrator.plan.network import interface_of
from orchestrator.preflight.judge import to_findings
from orchestrator.preflight.model import (
    Check,
    Context,
    Finding,
    Group,
    Level,
    NoAnswer,
    Status,
    check,
)
from orchestrator.preflight.reach.attribution import explain
from orchestrator.preflight.reach.listeners import CannotListen
from orchestrator.preflight.reach.reachability import REACH, Reachability
from orchestrator.preflight.verdict import Verdict, incomplete, passed


@check("net.bind", Group.REACHABILITY, Level.QUICK, measurements=(REACH,))
def check_bind(context: Context) -> list[Finding]:
    """The main port is free on main's address.

    orch listens on the main port at main's address, as the job's store will. A port that is taken fails,
    with the PID, user and command of the process that has it, if the login may see them: end that process,
    or let orch pick a port with `--main-port auto`. An address that is not one of main's own warns: it
    works only if NAT translates it.
    """
    main, plan = context.plan.nodes[0], context.plan
    where = f"port {plan.main_port} on {plan.main_address}"

    def finding(status: Status, message: str, remedy: str | None = None) -> list[Finding]:
        data = {"address": plan.main_address, "port": plan.main_port}
        return [Verdict(status, message, remedy, data=data).on([main.name])]

    if trouble := context.trouble.get("net.bind"):
        return finding(Status.FAIL, trouble.text, trouble.remedy)
    found = context.find(Reachability)
    problem = found if isinstance(found, NoAnswer) else found.main_port
    if isinstance(problem, CannotListen):
        taken = problem.errno == errno.EADDRINUSE
        message = f"{where} was taken a moment ago" if taken else f"{where}: {problem.reason}"
        return finding(Status.FAIL, message, "let orch pick a free port with --main-port auto")
    if problem is not None:
        return finding(Status.INCOMPLETE, incomplete(problem.reason).message)
    if interface_of(context.facts[0], plan.main_address) is None:
        return finding(
            Status.WARN,
            f"{plan.main_address} is not one of its own addresses: it works only if NAT translates it",
            "give one of its own addresses with --main-address if the nodes share a network",
        )
    return finding(Status.PASS, f"{where} is free, and orch could listen there")


@check("net.tcp", Group.REACHABILITY, Level.QUICK, measurements=(REACH,))
def check_tcp(context: Context) -> list[Finding]:
    """The nodes reach each other on the main port and on ephemeral ports.

    orch listens on the main port of main and on a port chosen by the kernel on every node. Nodes connect,
    exchange a secret, and learn the address under which they are seen: main and each node, and neighbours
    in a ring, in both directions, and from 9 nodes on 2 random peers of each; at the level `full` all pairs
    of up to 64 nodes, and 8 random peers of each node if there are more. A connection that was accepted
    and not answered, or has an end that does not answer itself either, gets a second try of 8 s: if it
    passes, the node is busy, which warns.

    | measured | meaning |
    |---|---|
    | refused at once, though orch listens there | a firewall sends a reset, or another host answers |
    | no answer within 4 s | a firewall or a cloud security group drops |
    | an ICMP message at once | a firewall rejects: that of its sender |
    | no route to host after 3 s | no host answers ARP: it is down, or in another VLAN |
    | network unreachable | there is no route |
    | the kernel has no room for another neighbour | see net.neighbours |
    | the main port passes, others do not | the ephemeral ports, which NCCL and gloo use, are closed |
    | another service answers | NAT, a proxy, another host |
    | another address is seen | NAT: warns, as it works |
    | a node does not reach itself | its firewall blocks lo, or NAT does; warns if no rank needs it |

    A node that no other reaches, or that reaches no other, is reported once, and so are two blocks of
    nodes that do not reach each other; only the rest is reported by pair. The remedy opens the firewall
    that the node runs, for the job's subnet, its main port and the node's range of ephemeral ports.
    """
    found = context.require(Reachability)
    verdicts = [(name, incomplete(answer.reason)) for name, answer in found.silent.items()]
    verdicts += explain(context, found)
    if found.main_port is not None:
        untried = f"the main port could not be tried: {found.main_port.reason}"
        verdicts.append((context.names[0], Verdict(Status.INCOMPLETE, untried)))
    named = {name for name, _ in verdicts}
    fine = tuple(name for name in context.names if name not in named)
    return [*to_findings(verdicts), *([_fine(found, fine)] if fine else [])]


def _fine(found: Reachability, names: tuple[str, ...]) -> Finding:
    """Return the finding for the nodes that are not at fault."""
    ways = [w for w in found.outcomes if w.source != w.target and w.target in names]
    seconds = [found.outcomes[way].seconds for way in ways if found.outcomes[way].passed]
    if not seconds:
        return passed("ready" if ways else "there is no other node to reach").on(names)
    tried = len(found.round_trips)
    message = (
        f"reachable from the others on the main port and on ephemeral ports ({tried} ways tried)"
    )
    data = {"ways": tried, "slowest_seconds": max(seconds)}
    return passed(message, data=data).on(names)


CHECKS: tuple[Check, ...] = (check_bind, check_tcp)
