"""The use case: would a launch work, and if not, why not.

reach what can be reached -> meet -> plan -> clear; what goes wrong on the way is a finding.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator import events
from orchestrator.control.interrupts import Interrupts
from orchestrator.errors import LaunchError, PlanError, SyncError
from orchestrator.inventory import Inventory
from orchestrator.pipeline.checks import run_checks
from orchestrator.pipeline.connect import connect_available
from orchestrator.pipeline.outgoing import warn_of_unsent_files
from orchestrator.pipeline.prepare import warn_of_broken_launchers, with_workdirs
from orchestrator.pipeline.rendezvous import find_network, reserve_port
from orchestrator.pipeline.transport_needs import require_files
from orchestrator.plan import Facts, Job, Network, make_plan
from orchestrator.plan.job import DEFAULT_PORT
from orchestrator.plan.network import check_distinct
from orchestrator.preflight.hosts.reached import check_reach
from orchestrator.preflight.model import Check, Context, Level, Script
from orchestrator.preflight.registry import CHECKS, left_out, select
from orchestrator.preflight.report import Report
from orchestrator.remote.base import Transport
from orchestrator.remote.fleet import Fleet
from orchestrator.remote.grouped_errors import connect_error
from orchestrator.remote.transports import create
from orchestrator.runs.names import new_name
from orchestrator.sync.client import version_here


@dataclass(frozen=True)
class PreflightRequest:
    """What a preflight is asked to do: the checks of `level`, or those named by `only`.

    `job` is what would be launched, `source` the folder that would go to the nodes (`sends` says whether
    one would, known or not), and `script` what is looked into (None: what concerns the script is skipped).
    """

    inventory: Inventory
    job: Job
    source: Path | None = None
    script: Path | None = None
    sends: bool = True
    level: Level = Level.QUICK
    only: tuple[str, ...] = ()
    transport: Transport = field(default_factory=create)


async def preflight(
    request: PreflightRequest, emit: events.Emit, interrupts: Interrupts | None = None
) -> Report:
    """Try on all nodes what a launch would need, and return what was found; nothing is left there.

    `emit` hears of each step; `interrupts` is how a person ends it. Raises UsageError for a request that
    makes no sense, ConnectError when no node can be reached, LaunchError when no plan can be made.
    """
    checks = select(request.level, request.only)
    for warning in left_out():
        emit(events.Warned(warning))
    if request.sends:
        require_files(
            request.transport,
            "no files can be copied to the nodes",
            "bring them there yourself, and use --no-sync",
        )
    warn_of_unsent_files(request.job, request.source, request.script, emit)
    fleet = Fleet(request.inventory.hosts, request.transport)
    interrupts = interrupts or Interrupts()
    try:
        context = await interrupts.abort(_look(fleet, request, emit))
        checks = (*_unasked(request, context, checks), *checks)
        return await interrupts.abort(run_checks(fleet, context, checks, emit))
    finally:
        await fleet.close()


def _unasked(
    request: PreflightRequest, context: Context, checks: Sequence[Check]
) -> Iterator[Check]:
    """Yield what is told whatever was asked for: else it would pass where no launch gets anywhere."""
    for check in CHECKS:
        unreached = check is check_reach and context.unreachable
        stops = check.id in context.trouble and not request.only
        if (unreached or stops) and check not in checks:
            yield check


async def _look(fleet: Fleet, request: PreflightRequest, emit: events.Emit) -> Context:
    """Plan as a launch would, as far as it goes."""
    (facts, unreachable), _ = await asyncio.gather(
        connect_available(fleet, emit), warn_of_broken_launchers(emit)
    )
    if not facts:
        raise connect_error(unreachable, len(request.inventory.hosts))
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
    if request.sends:
        try:
            version_here()
        except SyncError as error:
            trouble["host.rsync"] = error
    asked = job.main_port or main.port
    try:
        port = await reserve_port(fleet, network.address, asked, emit)
    except LaunchError as error:
        trouble["net.bind"] = error
        port = asked if isinstance(asked, int) else DEFAULT_PORT
    plan = make_plan(new_name("preflight"), fleet.hosts, facts, job, network, port)
    plan = await with_workdirs(fleet, plan, job)
    return Context(
        plan=plan,
        job=job,
        facts=tuple(facts),
        level=request.level,
        sends=request.sends,
        script=Script.read(request.script, request.source) if request.script else None,
        unreachable=tuple(unreachable),
        trouble=trouble,
    )


def _unknown_network(facts: Sequence[Facts]) -> Network:
    """Return what stands for the network where none could be found."""
    nothing = tuple(None for _ in facts)
    return Network(facts[0].ssh_address or "127.0.0.1", nothing, None, nothing)
