"""The use case: one script on every node.

connect -> facts -> plan -> sync -> start -> follow -> verdict
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator import events
from orchestrator.errors import LaunchError, PlanError, UsageError
from orchestrator.inventory import Inventory
from orchestrator.plan import Facts, Job, Network, Plan, choose_network, make_plan
from orchestrator.plan.fabric import find_launch_call
from orchestrator.plan.job import DEFAULT_PORT
from orchestrator.plan.network import check_distinct, routed_network
from orchestrator.plan.plan import choose_launcher
from orchestrator.remote.agent import Agent
from orchestrator.remote.fleet import Fleet
from orchestrator.remote.ssh import ConnectOptions
from orchestrator.runs.interrupts import Interrupts
from orchestrator.runs.names import new_name
from orchestrator.runs.record import Record
from orchestrator.runs.run import Run
from orchestrator.runs.verdict import Verdict
from orchestrator.spread import spread


@dataclass(frozen=True)
class Request:
    """What a launch is asked to do.

    `source` is the folder that goes to the nodes (None: they have the files), and `script` what is
    checked before anything starts (None where it cannot be seen from here). `grace` is how many
    seconds ranks have between SIGTERM and SIGKILL when the run is stopped.
    """

    inventory: Inventory
    job: Job
    source: Path | None
    script: Path | None = None
    name: str | None = None
    grace: float = 3.0
    connect: ConnectOptions = field(default_factory=ConnectOptions)


async def launch(
    request: Request, emit: events.Emit, interrupts: Interrupts | None = None
) -> Verdict:
    """Run the job on all nodes and return how it ended.

    `emit` hears everything that happens; `interrupts` is how a person stops it. Raises UsageError for
    a request that makes no sense, LaunchError when the job could not be started; then nothing runs.
    """
    check_script(request)
    interrupts = interrupts or Interrupts()
    fleet = Fleet(request.inventory.hosts, request.connect)
    try:
        facts, plan = await interrupts.abort(_make_ready(fleet, request, emit))
        record = Record(plan)
        try:
            skews = [fact.clock_skew for fact in facts]
            run = Run(plan, fleet, record, emit, interrupts, clock_skews=skews, grace=request.grace)
            with Phase("start", len(plan.nodes), emit):
                await run.start()
            return await run.watch()
        finally:
            record.close()
    finally:
        await fleet.close()


def run(request: Request, emit: events.Emit = lambda event: None) -> Verdict:
    """Do what `launch` does, and return when the job has ended."""
    return asyncio.run(launch(request, emit))


async def _make_ready(
    fleet: Fleet, request: Request, emit: events.Emit
) -> tuple[list[Facts], Plan]:
    """Do everything that comes before the first process is started."""
    facts, plan = await _decide(fleet, request, emit)
    emit(events.Planned(plan))
    if request.source is not None:
        await spread(fleet, plan, request.source, emit)
    return facts, plan


async def _decide(fleet: Fleet, request: Request, emit: events.Emit) -> tuple[list[Facts], Plan]:
    """Learn what the nodes are, and plan."""
    facts = await reach(fleet, emit)
    return facts, await settle_plan(fleet, facts, request, new_name(request.name))


async def dry_run(
    request: Request, emit: events.Emit, interrupts: Interrupts | None = None
) -> Plan:
    """Return what `launch` would run, having asked the nodes what they are, and started nothing."""
    check_script(request)
    fleet = Fleet(request.inventory.hosts, request.connect)
    try:
        return (await (interrupts or Interrupts()).abort(_decide(fleet, request, emit)))[1]
    finally:
        await fleet.close()


class Phase:
    """Times a phase of the launch and says how it goes."""

    def __init__(self, name: str, total: int, emit: events.Emit) -> None:
        self._name, self._emit = name, emit
        emit(events.PhaseBegan(name, total))
        self._began = time.monotonic()

    def __enter__(self) -> Phase:
        return self

    def advance(self, node: str, succeeded: bool) -> None:
        """Note that `node` is done."""
        self._emit(events.PhaseAdvanced(self._name, node, succeeded))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._emit(events.PhaseEnded(self._name, time.monotonic() - self._began))


def check_script(request: Request) -> None:
    """Raise when the script is known to fail under the launcher, before anything is started."""
    if choose_launcher(request.inventory.hosts, request.job) != "fabric" or request.script is None:
        return
    line = find_launch_call(request.script.read_text(encoding="utf-8", errors="replace"))
    if line is not None:
        raise PlanError(
            f"{request.script}:{line}: the script calls launch() itself, which Lightning refuses "
            "under `fabric run` (it has launched the script already)",
            remedy="use --launcher torchrun (launch() then does nothing), --launcher python (the "
            "script launches its own ranks), or remove the call",
        )


async def reach(fleet: Fleet, emit: events.Emit) -> list[Facts]:
    """Connect to every node and learn what it is."""
    with Phase("connect", len(fleet.hosts), emit) as phase:
        await fleet.connect(phase.advance)
    for warning in fleet.warnings:
        emit(events.Warned(warning))
    with Phase("facts", len(fleet.hosts), emit):
        await fleet.start_agents()
        return await fleet.each(fleet.agents, learn)


async def learn(agent: Agent) -> Facts:
    """Ask one node what it is. Raises LaunchError when it does not say so sensibly."""
    asked = time.time()
    raw = await agent.ask("facts")
    midpoint = (asked + time.time()) / 2
    try:
        return Facts.parse(raw, clock_skew=float(raw["time"]) - midpoint)
    except (KeyError, TypeError, ValueError) as error:
        raise LaunchError(
            f"{agent.node.name}: its agent's facts make no sense: {error!r}"
        ) from None


async def settle_plan(fleet: Fleet, facts: Sequence[Facts], request: Request, run: str) -> Plan:
    """Choose where the ranks meet, reserve the port there, and plan."""
    check_distinct([host.name for host in fleet.hosts], facts)
    network = await _settle_network(fleet, facts, request)
    port = await _reserve_port(fleet, network.address, request)
    return make_plan(run, fleet.hosts, facts, request.job, network, port)


async def _settle_network(fleet: Fleet, facts: Sequence[Facts], request: Request) -> Network:
    wanted = request.job.main_address or request.inventory.main.address
    network = choose_network(facts, wanted)
    if network is not None:
        return network
    address = wanted or facts[0].ssh_address
    if address is None:
        raise PlanError(
            "the nodes share no subnet, so the address that the ranks meet at is not clear",
            remedy="give main's address with --main-address, or `main: {address: ...}`",
        )
    routes = await fleet.ask_all("route", lambda index: {"address": address})
    for host, route in zip(fleet.hosts, routes, strict=True):
        if route["source"] is None:
            raise PlanError(
                f"{host.name} has no route to main's address {address}",
                remedy="give an address that every node can reach with --main-address",
            )
    return routed_network(address, [route["interface"] for route in routes])


async def _reserve_port(fleet: Fleet, address: str, request: Request) -> int:
    given = request.job.main_port or request.inventory.main.port
    if given == "auto":
        given = None
    port = await fleet.agents[0].ask(
        "reserve", address=address, preferred=given or DEFAULT_PORT, exact=given is not None
    )
    if not isinstance(port, int):
        raise PlanError(
            f"{fleet.hosts[0].name}: port {given} on {address} is taken",
            remedy=f"see who has it there with `ss -ltnp sport = :{given}`, "
            "or let orch pick a free one with --main-port auto",
        )
    return port


def require_inside(script: Path, source: Path) -> str:
    """Return the path of `script` relative to `source`, the folder that goes to the nodes.

    Raises UsageError when it is not in there.
    """
    try:
        return script.resolve().relative_to(source.resolve()).as_posix()
    except ValueError:
        raise UsageError(
            f"{script} is not inside {source}, the folder that is synced",
            remedy="name a folder that has it with --sync DIR",
        ) from None
