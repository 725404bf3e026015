"""The use case: what every node is, and why a node cannot tell.

connect -> facts; one node that is dead hides no other.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator import events
from orchestrator.errors import PlanError, Unreachable
from orchestrator.inventory import Host, Inventory
from orchestrator.plan import Facts, Network, choose_network
from orchestrator.plan.network import check_distinct
from orchestrator.reach import reach_some
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
    """Connect to every node and ask it what it is; return one report a host, in their order, and the
    spares last.
    """
    hosts = inventory.hosts + inventory.spares
    fleet = Fleet(hosts, options)
    try:
        answers, problems = await reach_some(fleet, emit)
    finally:
        await fleet.close()
    known = {host.name: facts for host, facts in zip(fleet.hosts, answers, strict=True)}
    try:
        check_distinct(list(known), answers)
    except PlanError as error:
        emit(events.Warned(str(error)))
    network = _network(answers, inventory.main.address)
    if network is None and known:
        emit(
            events.Warned(
                "the nodes share no subnet: a launch takes the address that SSH reaches main by, "
                "unless --main-address gives another"
            )
        )
    places = zip(network.interfaces, network.addresses, strict=True) if network else ()
    ways = dict(zip(known, places, strict=False))
    found: dict[str, Facts | Unreachable] = {**known, **{each.node: each for each in problems}}
    return [
        _report(host, found[host.name], network, *ways.get(host.name, (None, None)))
        for host in hosts
    ]


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
