"""The use case: what every node is, and why a node cannot tell.

connect -> facts; one node that is dead hides no other.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from orchestrator import events
from orchestrator.errors import ConnectError, LaunchError, PlanError, Unreachable
from orchestrator.inventory import Host, Inventory
from orchestrator.phase import Phase
from orchestrator.plan import Facts, Network, choose_network
from orchestrator.plan.network import check_distinct
from orchestrator.reach import learn
from orchestrator.remote.agent import Agent
from orchestrator.remote.base import Node, ShellError
from orchestrator.remote.fleet import Fleet
from orchestrator.remote.ssh import ConnectOptions


@dataclass(frozen=True)
class NodeReport:
    """What one node is, or why that is not known: one of `facts` and `problem` is None.

    `interface` and `address` are the node's own in `subnet`, which all nodes with facts share; all
    three are None where they share none.
    """

    host: Host
    facts: Facts | None
    problem: Unreachable | None
    interface: str | None = None
    address: str | None = None
    subnet: str | None = None


async def survey(
    inventory: Inventory, options: ConnectOptions, emit: events.Emit
) -> list[NodeReport]:
    """Connect to every node and ask it what it is; return one report a host, in their order."""
    fleet = Fleet(inventory.hosts, options)
    try:
        found = await _reach(fleet, emit)
    finally:
        await fleet.close()
    known = {name: facts for name, facts in found.items() if isinstance(facts, Facts)}
    try:
        check_distinct(list(known), list(known.values()))
    except PlanError as error:
        emit(events.Warned(str(error)))
    network = _network(list(known.values()), inventory.main.address)
    if network is None and known:
        emit(
            events.Warned(
                "the nodes share no subnet: a launch takes the address that SSH reaches main by, "
                "unless --main-address gives another"
            )
        )
    places = zip(network.interfaces, network.addresses, strict=True) if network else ()
    ways = dict(zip(known, places, strict=False))
    return [
        _report(host, found[host.name], network, *ways.get(host.name, (None, None)))
        for host in inventory.hosts
    ]


async def _reach(fleet: Fleet, emit: events.Emit) -> dict[str, Facts | Unreachable]:
    """Return the facts of every node, or why there are none, by its name."""
    problems: dict[str, Facts | Unreachable] = {}
    with Phase("connect", (host.name for host in fleet.hosts), emit) as phase:
        try:
            await fleet.connect(phase.advance)
        except ConnectError as error:
            problems = {failure.node: failure for failure in error.failures}
    for warning in fleet.warnings:
        emit(events.Warned(warning))
    with Phase("facts", (node.name for node in fleet.nodes), emit) as phase:
        answers = await asyncio.gather(*(_ask(node, phase) for node in fleet.nodes))
    return problems | {node.name: answer for node, answer in zip(fleet.nodes, answers, strict=True)}


async def _ask(node: Node, phase: Phase) -> Facts | Unreachable:
    answer: Facts | Unreachable
    try:
        agent = await Agent.open(node)
        try:
            answer = await learn(agent)
        finally:
            await agent.close()
    except ShellError as error:
        answer = error.verdict
    except LaunchError as error:
        message = error.message.removeprefix(f"{node.name}: ")
        remedy = error.remedy or f"log in and see whether {node.host.python} runs there"
        answer = Unreachable(node.name, "agent", message, remedy)
    phase.advance(node.name, isinstance(answer, Facts))
    return answer


def _network(facts: list[Facts], main: str | None) -> Network | None:
    """Return the network that a launch would choose, had it only the nodes with these facts."""
    if not facts:
        return None
    return (choose_network(facts, main) if main else None) or choose_network(facts)


def _report(
    host: Host,
    found: Facts | Unreachable,
    network: Network | None,
    interface: str | None,
    address: str | None,
) -> NodeReport:
    if isinstance(found, Unreachable):
        return NodeReport(host, None, found)
    if network is None or interface is None:
        return NodeReport(host, found, None)
    return NodeReport(host, found, None, interface, address, network.subnet)
