"""The rest of a launch, once its nodes are connected: rendezvous, plan, upload, checks, start, follow.

`launch` imports it while it connects: it takes longer to import than some nodes take to answer.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from orchestrator import events
from orchestrator.api.launch_request import Request
from orchestrator.calls.packing import script_of
from orchestrator.control.interrupts import Interrupts
from orchestrator.control.restarts import supervise
from orchestrator.control.run import Detached
from orchestrator.control.start import start
from orchestrator.control.verdict import Verdict
from orchestrator.errors import LaunchError
from orchestrator.pipeline.outgoing import warn_of_unsent_files
from orchestrator.pipeline.phase import Phase
from orchestrator.pipeline.prepare import copy_for_spares, plan_job, prepare
from orchestrator.pipeline.queue import claim_nodes
from orchestrator.plan import Facts, Plan
from orchestrator.plan.masking import known_secrets, masked_text, masked_words
from orchestrator.remote.connection import NodeConnection, close_all
from orchestrator.remote.fleet import Fleet
from orchestrator.remote.transports import saved
from orchestrator.runs.background import handing_over
from orchestrator.runs.disk_space import write_within
from orchestrator.runs.folder import CALL, FILES, runs_folder
from orchestrator.runs.options import Settings
from orchestrator.runs.record import Record
from orchestrator.runs.saved_run import Ending
from orchestrator.runs.stop_request import StopRequest, request_stop
from orchestrator.sync import Tree

_DISK_FULL_TIMEOUT = 10.0  # seconds to wait for disk space to record a failed start


async def launch_connected(
    request: Request,
    fleet: Fleet,
    facts: Sequence[Facts],
    emit: events.Emit,
    interrupts: Interrupts,
) -> Verdict | None:
    """Run the job on the connected nodes of `fleet`, as `launch` does; disconnect from them at the end."""
    connections: list[NodeConnection] = []
    async with AsyncExitStack() as stack:
        try:
            plan, tree, uneven = await interrupts.abort(_prepare(fleet, facts, request, emit))
            record = _record(request, facts, plan, tree, uneven)
            connections = fleet.connections()
            interrupts.has_started = True
            try:
                if request.call is not None:
                    await asyncio.to_thread(_keep_call, request.call, record.folder / CALL)
                if record.spec is not None and record.spec.spares and tree is not None:
                    await copy_for_spares(tree, record.folder / FILES, emit)
                with Phase("start", (node.name for node in plan.nodes), emit):
                    await _start(record, connections, request.call)
                return await supervise(record, connections, emit, interrupts, fleet.transport)
            except Detached as left:
                reason = str(left)
                request.transport.hand_over()
                hand_over = await stack.enter_async_context(handing_over(record.folder))
            finally:
                record.close()
        finally:
            await close_all(connections)
            await fleet.close()
        await hand_over(record.spec)
    _report_leaving(record, reason, interrupts, emit)
    return None


async def _prepare(
    fleet: Fleet, facts: Sequence[Facts], request: Request, emit: events.Emit
) -> tuple[Plan, Tree | None, list[events.Uneven]]:
    """Choose the rendezvous, plan, upload, check: everything before the first process starts.

    Returns the plan, its files, and the differences between nodes.
    """
    uneven: list[events.Uneven] = []

    def hear(event: events.Event) -> None:
        if isinstance(event, events.Uneven):
            uneven.append(event)
        emit(event)

    run = await claim_nodes(fleet, request.new_name, emit, wait=request.wait)
    plan = await plan_job(fleet, facts, request.spec, run, emit)
    emit(events.Planned(plan))
    warn_of_unsent_files(request.job, request.source, request.script, emit)
    plan, tree = await prepare(
        fleet, facts, plan, request.spec, request.preflight, hear, sync_limit=request.sync_limit
    )
    return plan, tree, uneven


def _record(
    request: Request,
    facts: Sequence[Facts],
    plan: Plan,
    tree: Tree | None,
    uneven: list[events.Uneven],
) -> Record:
    """Record the run. Raises LaunchError."""
    spec = replace(request.spec, digest=None if tree is None else tree.digest)
    if request.call is not None:
        spec = replace(spec, script=script_of(runs_folder() / plan.run / CALL))
    record = Record.create(plan, _settings(request, facts), spec if request.restarts else None)
    with suppress(OSError):  # the disk is full; they have been shown
        for event in uneven:
            record.note(event)
    return record


def _report_leaving(record: Record, reason: str, interrupts: Interrupts, emit: events.Emit) -> None:
    """Report that the run continues in the background; stop it there if it was interrupted meanwhile."""
    if interrupts.count == 0:
        emit(events.Detached(record.plan.run, reason))
        return
    request_stop(record.folder, StopRequest(interrupts.reason, None))
    why = "it was left, then interrupted"
    emit(events.Warned(f"run {record.plan.run} is stopped in the background: {why}"))


def _keep_call(call: Path, folder: Path) -> None:
    """Copy the call into the run's folder, for restarts. Raises LaunchError."""
    try:
        folder.mkdir(mode=0o700)
        for file in call.iterdir():
            shutil.copy(file, folder)
    except OSError as error:
        raise LaunchError(
            f"the call cannot be kept in {folder}: {error.strerror}", remedy="free disk space there"
        ) from None


async def _start(record: Record, connections: list[NodeConnection], call: Path | None) -> None:
    """Start the job on all nodes, or on none, and record the result."""
    try:
        await start(record.plan, connections, record.settings, call=call)
    except LaunchError as error:
        failed = partial(
            record.write_state,
            "failed",
            Ending(
                exit_code=error.exit_code,
                summary=masked_text("; ".join(error.message.splitlines())),
                missing=(),
            ),
        )
        with suppress(OSError):  # a full disk must not hide why the start failed
            await write_within(_DISK_FULL_TIMEOUT, failed)
        raise
    with suppress(OSError):  # it is written once there is disk space
        record.write_state("running")


def _settings(request: Request, facts: Sequence[Facts]) -> Settings:
    names = (host.name for host in request.inventory.hosts)
    environments = (request.job.environment, *(host.env for host in request.inventory.hosts))
    return Settings(
        **vars(request.terms),
        script=masked_words(request.job.command, known_secrets(*environments)),
        skews=dict(zip(names, (fact.clock_skew for fact in facts), strict=True)),
        transport=saved(request.transport),
        source=request.source and request.source.absolute(),
        function=request.job.script if request.job.function is not None else "",
    )
