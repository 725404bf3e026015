"""Reachability: the ports that a job will use, tried with orch's own listeners."""

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
    Remedy,
    Status,
)
from orchestrator.preflight.reach.attribution import explain
from orchestrator.preflight.reach.reachability import REACH, Reachability
from orchestrator.preflight.verdict import Verdict, incomplete

_ANOTHER_PORT = "let orch pick a free port with --main-port auto"


def _bind(context: Context) -> list[Finding]:
    main, plan = context.plan.nodes[0], context.plan
    where = f"port {plan.main_port} on {plan.main_address}"

    def say(status: Status, message: str, remedy: str | None = None) -> list[Finding]:
        data = {"address": plan.main_address, "port": plan.main_port}
        mends = None if remedy is None else Remedy(remedy, (), (main.name,))
        return [Finding(status, (main.name,), message, mends, data)]

    if trouble := context.trouble.get("net.bind"):
        return say(Status.FAIL, trouble.text, trouble.remedy)
    found = context.find(Reachability)
    if isinstance(found, NoAnswer):
        return say(Status.INCOMPLETE, f"could not be checked: {found.reason}")
    shut = found.main_port
    if shut is None and interface_of(context.facts[0], plan.main_address) is None:
        return say(
            Status.WARN,
            f"{plan.main_address} is not an address of its own: something must translate it",
            "give an address of its own with --main-address where the nodes share a network",
        )
    if shut is None:
        return say(Status.PASS, f"{where} is free, and orch could listen there")
    if shut.errno is None:
        return say(Status.INCOMPLETE, f"could not be checked: {shut.text}")
    if shut.errno == errno.EADDRINUSE:
        return say(Status.FAIL, f"{where} was taken a moment ago", _ANOTHER_PORT)
    return say(Status.FAIL, f"{where}: {shut.text}", _ANOTHER_PORT)


def _tcp(context: Context) -> list[Finding]:
    found = context.require(Reachability)
    verdicts = [(name, incomplete(answer.reason)) for name, answer in found.silent.items()]
    verdicts += explain(context, found)
    if found.main_port is not None:
        untried = f"the main port could not be tried: {found.main_port.text}"
        verdicts.append((context.names[0], Verdict(Status.INCOMPLETE, untried)))
    named = {name for name, _ in verdicts}
    fine = tuple(name for name in context.names if name not in named)
    return [*to_findings(verdicts), *([_fine(found, fine)] if fine else [])]


def _fine(found: Reachability, names: tuple[str, ...]) -> Finding:
    """Return what is said of the nodes with which nothing is wrong."""
    ways = [w for w in found.outcomes if w.source != w.target and w.target in names]
    reached = [found.outcomes[way] for way in ways if found.outcomes[way].passed]
    if not reached:
        return Finding(
            Status.PASS, names, "there is no other node to reach" if not ways else "ready"
        )
    slowest = max(outcome.seconds for outcome in reached)
    tried = len(found.round_trips)
    message = (
        f"reached from the others on the main port and on ephemeral ports ({tried} ways tried)"
    )
    return Finding(Status.PASS, names, message, data={"ways": tried, "slowest_seconds": slowest})


CHECKS: tuple[Check, ...] = (
    Check(
        id="net.bind",
        group=Group.REACHABILITY,
        level=Level.QUICK,
        meaning="the main port is free on main's address",
        page="orch takes the main port on main's address, as the job's store will. A port that is taken "
        "fails, with the PID, the user and the command that have it, as far as the login may see "
        "them: end that if nobody needs it, or let orch pick a port with `--main-port auto`. An "
        "address that is none of main's own warns: it works only where something translates it.",
        verdict=_bind,
        measurements=(REACH,),
    ),
    Check(
        id="net.tcp",
        group=Group.REACHABILITY,
        level=Level.QUICK,
        meaning="the nodes reach each other on the main port and on ephemeral ports",
        page="orch listens on main's main port and on a port that the kernel gives on every node, and "
        "nodes connect, exchange a secret, and learn the address that they are seen under: main and "
        "each node, and neighbours in a ring, in both directions; at the level `full` all pairs up to 256 "
        "nodes, and above that 8 random peers of each as well.\n\n"
        "| measured | meaning |\n|---|---|\n"
        "| refused at once, while orch listens there | a firewall rejects with a reset, or another host "
        "answers for that address |\n"
        "| no answer within 4 s | a firewall or a cloud security group drops |\n"
        "| an ICMP message at once | a firewall rejects; whose it is tells which |\n"
        "| no route to host after 3 s | nobody answers ARP: the host is down, or its VLAN wrong |\n"
        "| network unreachable | there is no route |\n"
        "| the main port passes, others do not | only the main port was opened: NCCL and gloo listen on "
        "ephemeral ports |\n"
        "| another service answers | NAT, a proxy, another host |\n"
        "| another address is seen | NAT: warns, as it works |\n"
        "| a node does not reach itself | its firewall stops lo, or what translates main's address sends "
        "main's own packets nowhere; warns where no rank needs it |\n\n"
        "A node that nobody reaches, or that reaches nobody, is named once, and so are two blocks of "
        "nodes that do not see each other; only what is left is told by pair. The remedy opens the "
        "firewall that the node really runs, for the job's subnet, its main port and the node's range of "
        "ephemeral ports.",
        verdict=_tcp,
        measurements=(REACH,),
    ),
)
