"""The use case: would a launch work, and if not, why not.

reach what can be reached -> meet -> plan -> clear; what goes wrong on the way is a finding.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator import events
from orchestrator.clear import clear
from orchestrator.errors import ConnectError, LaunchError, PlanError
from orchestrator.inventory import Inventory
from orchestrator.meet import find_network, reserve_port
from orchestrator.plan import Facts, Job, Network, make_plan
from orchestrator.plan.job import DEFAULT_PORT
from orchestrator.plan.network import check_distinct
from orchestrator.preflight.hosts.reached import REACH
from orchestrator.preflight.model import Check, Level
from orchestrator.preflight.registry import CHECKS, select
from orchestrator.preflight.report import Report
from orchestrator.preflight.scene import Scene, Script
from orchestrator.reach import reach_some
from orchestrator.remote.fleet import Fleet
from orchestrator.remote.ssh import ConnectOptions
from orchestrator.runs.interrupts import Interrupts
from orchestrator.runs.names import new_name


@dataclass(frozen=True)
class CheckRequest:
    """What a preflight is asked to do: the checks of `level`, or those named by `only`.

    `job` is what would be launched, `source` the folder that would go to the nodes, and `script` what is
    looked into (None: what concerns the script is skipped).
    """

    inventory: Inventory
    job: Job
    source: Path | None = None
    script: Path | None = None
    level: Level = Level.QUICK
    only: tuple[str, ...] = ()
    connect: ConnectOptions = field(default_factory=ConnectOptions)


async def check(
    request: CheckRequest, emit: events.Emit, interrupts: Interrupts | None = None
) -> Report:
    """Try on all nodes what a launch would need, and return what was found; nothing is left there.

    `emit` hears of each step; `interrupts` is how a person ends it. Raises UsageError for a request that
    makes no sense, ConnectError when no node can be reached, LaunchError when no plan can be made.
    """
    checks = select(request.level, request.only)
    fleet = Fleet(request.inventory.hosts, request.connect)
    interrupts = interrupts or Interrupts()
    try:
        scene = await interrupts.abort(_look(fleet, request, emit))
        checks = (*_unasked(request, scene, checks), *checks)
        return await interrupts.abort(clear(fleet, scene, checks, emit))
    finally:
        await fleet.close()


def examine(request: CheckRequest, emit: events.Emit = lambda event: None) -> Report:
    """Do what `check` does, and return when it is done."""
    return asyncio.run(check(request, emit))


def _unasked(request: CheckRequest, scene: Scene, checks: Sequence[Check]) -> Iterator[Check]:
    """Yield what is told whatever was asked for: else it would pass where no launch gets anywhere."""
    for check in CHECKS:
        unreached = check is REACH and scene.unreachable
        stops = check.id in scene.trouble and not request.only
        if (unreached or stops) and check not in checks:
            yield check


async def _look(fleet: Fleet, request: CheckRequest, emit: events.Emit) -> Scene:
    """Plan as a launch would, as far as it goes."""
    facts, unreachable = await reach_some(fleet, emit)
    if not facts:
        raise ConnectError(unreachable, len(request.inventory.hosts))
    main, job = request.inventory.main, request.job
    trouble: dict[str, LaunchError] = {}
    try:
        check_distinct([host.name for host in fleet.hosts], facts)
    except PlanError as error:
        trouble["host.unique"] = error
    try:
        network = await find_network(fleet, facts, job.main_address or main.address)
    except LaunchError as error:
        trouble["nic.pick"] = error
        network = _unknown_network(facts)
    asked = job.main_port or main.port
    try:
        port = await reserve_port(fleet, network.address, asked, emit)
    except LaunchError as error:
        trouble["net.bind"] = error
        port = asked if isinstance(asked, int) else DEFAULT_PORT
    plan = make_plan(new_name("preflight"), fleet.hosts, facts, job, network, port)
    return Scene(
        plan=plan,
        job=job,
        facts=tuple(facts),
        level=request.level,
        script=Script.read(request.script, request.source) if request.script else None,
        unreachable=tuple(unreachable),
        trouble=trouble,
    )


def _unknown_network(facts: Sequence[Facts]) -> Network:
    """Return what stands for the network where none could be found."""
    nothing = tuple(None for _ in facts)
    return Network(facts[0].ssh_address or "127.0.0.1", nothing, None, nothing)
