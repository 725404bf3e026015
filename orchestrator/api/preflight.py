"""The use case: check whether a launch would work, and if not, why.

connect to what is reachable -> rendezvous -> plan -> checks; a failure on the way is a finding.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

from orchestrator import events
from orchestrator.api.engine import job_for
from orchestrator.api.hosts import Note, open_hosts
from orchestrator.api.job import JobOptions, JobRequest, local_name, read_job
from orchestrator.api.nproc import with_nproc
from orchestrator.api.values import AnyPath, check_names, one_of, word_list
from orchestrator.errors import LaunchError
from orchestrator.inventory import Main
from orchestrator.pipeline.checks import run_checks
from orchestrator.pipeline.connect import connect_available, warn_of_broken_launchers
from orchestrator.pipeline.outgoing import warn_of_unsent_files
from orchestrator.pipeline.prepare import with_workdirs
from orchestrator.pipeline.rendezvous import find_network, reserve_port
from orchestrator.pipeline.transport_needs import require_files
from orchestrator.plan import Facts, Network, make_plan
from orchestrator.plan.job import DEFAULT_PORT
from orchestrator.plan.network import check_distinct
from orchestrator.preflight.hosts.reached import check_reach
from orchestrator.preflight.model import Check, Context, Level, Script
from orchestrator.preflight.registry import CHECKS, left_out, select
from orchestrator.preflight.report import Report
from orchestrator.remote.fleet import Fleet
from orchestrator.remote.grouped_errors import connect_error
from orchestrator.runs.names import new_name
from orchestrator.sync.client import local_rsync


class PreflightOptions(JobOptions, total=False):
    """The options of `orch preflight`, under the same names; `hosts` is its --inventory."""

    level: Literal["quick", "full"]
    only: Sequence[str]


async def preflight(
    script: AnyPath | None,
    arguments: Sequence[object],
    options: PreflightOptions,
    emit: events.Emit,
    *,
    note: Note | None = None,
) -> Report:
    """Check all nodes for what the described launch needs; nothing is left on the nodes.

    Without a script, checks of the script are skipped. `emit` gets each step. Raises TypeError for an
    unknown option, UsageError for an invalid value, ConnectError if no node can be reached, LaunchError if
    no plan can be made.
    """
    check_names("preflight", options, PreflightOptions)
    level = Level(one_of("--level", options.get("level", "full"), "quick", "full"))
    only = word_list("--only", options.get("only"))
    checks = select(level, only)
    for warning in left_out():
        emit(events.Warned(warning))
    asked = read_job(script, arguments, options)
    sends = not options.get("no_sync", False)
    name, include = local_name(asked.job), options.get("include")
    opened = open_hosts(options, local_name=name, include=include, note=note)
    async with opened as (inventory, transport):
        if sends:
            require_files(
                transport,
                "no files can be copied to the nodes",
                "bring them there yourself, and use --no-sync",
            )
        job = job_for(asked, inventory.hosts, note)
        asked = replace(asked, job=with_nproc(job, asked.nproc, inventory))
        warn_of_unsent_files(asked.job, asked.source, asked.script, emit)
        fleet = Fleet(inventory.hosts, transport)
        try:
            context = await _plan(fleet, inventory.main, asked, level, emit, sends=sends)
            checks = (*_always_reported(context, checks, only), *checks)
            return await run_checks(fleet, context, checks, emit)
        finally:
            await fleet.close()


def _always_reported(
    context: Context, checks: Sequence[Check], only: Sequence[str]
) -> Iterator[Check]:
    """Yield failed checks that were not requested: otherwise a launch that must fail would pass."""
    for check in CHECKS:
        unreached = check is check_reach and context.unreachable
        stops = check.id in context.trouble and not only
        if (unreached or stops) and check not in checks:
            yield check


async def _plan(
    fleet: Fleet, main: Main, asked: JobRequest, level: Level, emit: events.Emit, *, sends: bool
) -> Context:
    """Plan as a launch would, as far as possible."""
    (facts, unreachable), _ = await asyncio.gather(
        connect_available(fleet, emit), warn_of_broken_launchers(emit)
    )
    if not facts:
        raise connect_error(unreachable, len(unreachable))
    job = asked.job
    trouble: dict[str, LaunchError] = {}

    @contextmanager
    def recorded_as(check_id: str) -> Iterator[None]:
        try:
            yield
        except LaunchError as error:
            trouble[check_id] = error

    with recorded_as("host.unique"):
        check_distinct([host.name for host in fleet.hosts], facts)
    network = _unknown_network(facts)
    with recorded_as("nic.pick"):
        network = await find_network(fleet, facts, job.main_address or main.address)
    if sends:
        with recorded_as("host.rsync"):
            local_rsync()
    wanted = job.main_port or main.port
    port = wanted if isinstance(wanted, int) else DEFAULT_PORT
    with recorded_as("net.bind"):
        port = await reserve_port(fleet, network.address, wanted, emit)
    plan = make_plan(new_name("preflight"), fleet.hosts, facts, job, network, port)
    plan = await with_workdirs(fleet, plan, job)
    return Context(
        plan=plan,
        job=job,
        facts=tuple(facts),
        level=level,
        sends=sends,
        script=Script.read(asked.script, asked.source) if asked.script else None,
        unreachable=tuple(unreachable),
        trouble=trouble,
    )


def _unknown_network(facts: Sequence[Facts]) -> Network:
    """Return a placeholder for a network that was not found."""
    unknown = (None,) * len(facts)
    return Network(facts[0].ssh_address or "127.0.0.1", unknown, None, unknown)
