"""Connect to the hosts of the next attempt: those of the last one, with spares for lost ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from orchestrator import events
from orchestrator.errors import LaunchError
from orchestrator.inventory import Host
from orchestrator.pipeline.connect import connect_available
from orchestrator.plan import Facts
from orchestrator.remote.base import Transport
from orchestrator.remote.fleet import Fleet


class NoSpare(LaunchError):
    """A host is lost, and no spare is left to replace it."""

    def __init__(self, lost: Iterable[str]) -> None:
        super().__init__(f"no spare host is left to replace {', '.join(lost)}")


async def connect_with_spares(
    hosts: Mapping[str, Host | None],
    spares: Sequence[Host],
    transport: Transport,
    emit: events.Emit,
) -> tuple[Fleet, list[Facts]]:
    """Connect to each of `hosts`, or to a spare if it is lost (None) or cannot be reached.

    Returns the fleet and the facts of its hosts, in the order of `hosts`. Raises NoSpare.
    """
    left = [host for host in hosts.values() if host is not None]
    asked = [*left, *(spares if len(left) < len(hosts) else ())]
    if not asked:
        raise NoSpare(hosts)
    fleet = Fleet(asked, transport)
    try:
        facts, failures = await connect_available(fleet, emit)
        away = {failure.node for failure in failures}
        if away.intersection(hosts) and len(asked) == len(left) and spares:
            await fleet.close()
            still = {name: None if name in away else host for name, host in hosts.items()}
            return await connect_with_spares(still, spares, transport, emit)
        agents = {agent.node.name: agent for agent in fleet.agents}
        known = dict(zip(agents, facts, strict=True))
        free = iter([name for name in agents if name not in hosts])
        chosen = {name: name if name in agents else next(free, None) for name in hosts}
        names = [name for name in chosen.values() if name is not None]
        if len(names) < len(hosts):
            raise NoSpare(name for name, used in chosen.items() if used is None)
        for name, used in chosen.items():
            if name != used:
                emit(events.Warned(f"{used} replaces {name}"))
        await fleet.narrow([agents[name] for name in names])
        return fleet, [known[name] for name in names]
    except BaseException:
        await fleet.close()
        raise
