"""The use case: launch one script on every node.

connect -> rendezvous -> plan -> upload -> checks -> start -> follow -> verdict; and again from the start if
it failed and may be restarted (`control/restarts.py`)
"""

from __future__ import annotations

import asyncio
import shutil
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from pathlib import Path

from orchestrator import events
from orchestrator.calls.packing import script_of
from orchestrator.control.interrupts import Interrupts
from orchestrator.control.restarts import supervise
from orchestrator.control.run import Detached
from orchestrator.control.start import start
from orchestrator.control.verdict import Verdict
from orchestrator.errors import LaunchError, PlanError, UsageError
from orchestrator.inventory import Inventory
from orchestrator.pipeline.connect import connect_all
from orchestrator.pipeline.outgoing import SYNC_LIMIT, warn_of_unsent_files
from orchestrator.pipeline.phase import Phase
from orchestrator.pipeline.prepare import (
    copy_for_spares,
    plan_job,
    prepare,
    warn_of_broken_launchers,
    with_workdirs,
)
from orchestrator.pipeline.queue import claim_nodes
from orchestrator.pipeline.transport_needs import require_background, require_files
from orchestrator.plan import Facts, Job, Plan, paste
from orchestrator.plan.masking import known_secrets, masked_text, masked_words
from orchestrator.plan.plan import choose_launcher
from orchestrator.preflight.level import Level
from orchestrator.remote.base import Transport
from orchestrator.remote.connection import NodeConnection, close_all
from orchestrator.remote.fleet import Fleet
from orchestrator.remote.transports import create, saved
from orchestrator.runs.background import handing_over
from orchestrator.runs.disk_space import write_within
from orchestrator.runs.folder import CALL, FILES, runs_folder
from orchestrator.runs.launch_spec import LaunchSpec
from orchestrator.runs.names import new_name
from orchestrator.runs.options import RunOptions, Settings, with_silence_timeout
from orchestrator.runs.record import Record
from orchestrator.runs.saved_run import Ending
from orchestrator.runs.stop_request import StopRequest, request_stop
from orchestrator.sync import Tree

_DISK_FULL_TIMEOUT = 10.0  # seconds to wait for disk space to record a failed start


@dataclass(frozen=True)
class Request:
    """What to launch.

    `source` is the folder to copy to the nodes (None: they have the files), `script` the file to check
    before anything starts (None if it is not on this machine), and `preflight` the level of the checks
    (None: none). `detach` returns once the job runs, controlled in the background; `wait` starts once no
    other run uses the nodes. `restarts` limits how often the whole job is restarted after a failure (an
    elastic job has its own limit, for torchrun). A source of more than `sync_limit` bytes is refused
    (None: no limit); `overwrite` replaces files that have changed on a node. `transport` is open. `call` is
    the folder that has the call of the job's function, if it has one; the run gets a copy.
    """

    inventory: Inventory
    job: Job
    source: Path | None
    script: Path | None = None
    name: str | None = None
    preflight: Level | None = Level.QUICK
    detach: bool = False
    wait: bool = False
    restarts: int = 0
    overwrite: bool = False
    terms: RunOptions = field(default_factory=RunOptions)
    transport: Transport = field(default_factory=create)
    sync_limit: int | None = SYNC_LIMIT
    call: Path | None = None

    @property
    def spec(self) -> LaunchSpec:
        """What is needed to start the job, and to restart it."""
        return LaunchSpec(
            job=self.job,
            hosts=self.inventory.hosts,
            spares=self.inventory.spares,
            main=self.inventory.main,
            source=self.source and self.source.absolute(),
            script=self.script and self.script.absolute(),
            preflight=self.preflight is not None,
            restarts=self.restarts,
            overwrite=self.overwrite,
        )


async def launch(
    request: Request, emit: events.Emit, interrupts: Interrupts | None = None
) -> Verdict | None:
    """Run the job on all nodes and return how it ended, or None if it continues in the background.

    `emit` gets every event; `interrupts` stop the run, or detach from it. Raises UsageError for an invalid
    request, LaunchError if the job could not be started; then nothing runs.
    """
    check(request)
    interrupts = interrupts or Interrupts()
    _allow_leaving(request, emit, interrupts)
    transport = with_silence_timeout(request.transport, request.terms.node_timeout)
    fleet = Fleet(request.inventory.hosts, transport)
    connections: list[NodeConnection] = []
    async with AsyncExitStack() as stack:
        try:
            facts, plan, tree, uneven = await interrupts.abort(_prepare(fleet, request, emit))
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
                return await supervise(record, connections, emit, interrupts, transport)
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
    fleet: Fleet, request: Request, emit: events.Emit
) -> tuple[list[Facts], Plan, Tree | None, list[events.Uneven]]:
    """Connect, choose the rendezvous, plan, upload, check: everything before the first process starts.

    Returns the facts of the nodes, the plan, its files, and the differences between nodes.
    """
    uneven: list[events.Uneven] = []

    def hear(event: events.Event) -> None:
        if isinstance(event, events.Uneven):
            uneven.append(event)
        emit(event)

    if request.preflight is not None:
        # Importing the checks takes longer than running them: import them while connecting.
        asyncio.get_running_loop().run_in_executor(
            None, import_module, "orchestrator.pipeline.checks"
        )
    facts, _ = await asyncio.gather(connect_all(fleet, emit), warn_of_broken_launchers(emit))
    run = await claim_nodes(fleet, partial(_new_name, request), emit, wait=request.wait)
    plan = await plan_job(fleet, facts, request.spec, run, emit)
    emit(events.Planned(plan))
    warn_of_unsent_files(request.job, request.source, request.script, emit)
    plan, tree = await prepare(
        fleet, facts, plan, request.spec, request.preflight, hear, sync_limit=request.sync_limit
    )
    return facts, plan, tree, uneven


def _record(
    request: Request,
    facts: list[Facts],
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


def _allow_leaving(request: Request, emit: events.Emit, interrupts: Interrupts) -> None:
    """Detach at once with --detach, and never if the run would end with its controller."""
    if not request.transport.capabilities.outlives_controller:
        why = f"over transport {request.transport.name} the run would end with this command"
        interrupts.forbid_detach(lambda: emit(events.Warned(f"the run is not left: {why}")))
    if request.detach:
        interrupts.detach("detached")


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


def _settings(request: Request, facts: list[Facts]) -> Settings:
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


def _new_name(request: Request) -> str:
    return new_name(request.name, request.job.script, module=request.job.module)


async def dry_run(
    request: Request, emit: events.Emit, interrupts: Interrupts | None = None
) -> Plan:
    """Return what `launch` would run; asks the nodes for their facts, but starts nothing."""
    check(request)
    fleet = Fleet(request.inventory.hosts, request.transport)

    async def planned() -> Plan:
        facts, _ = await asyncio.gather(connect_all(fleet, emit), warn_of_broken_launchers(emit))
        plan = await plan_job(fleet, facts, request.spec, _new_name(request), emit)
        return await with_workdirs(fleet, plan, request.job)

    try:
        return await (interrupts or Interrupts()).abort(planned())
    finally:
        await fleet.close()


def commands(plan: Plan) -> str:
    """Return the commands of a plan as text, ready to paste."""
    return "".join(f"{line}\n" for line in paste.shell_commands(plan))


def check(request: Request) -> None:
    """Raise UsageError for an invalid request, PlanError if the script would fail under the launcher."""
    terms = request.terms
    if request.detach:
        require_background(request.transport, "--detach")
    if request.source is not None:
        require_files(
            request.transport,
            f"{request.source} cannot be copied to the nodes",
            "bring the files there yourself, and use --no-sync",
        )
    if terms.fetch:
        require_files(request.transport, "--fetch", "leave it out, and fetch the files yourself")
    if request.job.elastic is not None and (request.restarts or terms.keep_going):
        raise UsageError(
            "torchrun decides what an elastic job does when a rank fails",
            remedy="leave out either --elastic or --on-failure continue",
        )
    launcher = choose_launcher(request.inventory.hosts, request.job)
    if request.script is None:
        return
    text = request.script.read_text(encoding="utf-8-sig", errors="replace")
    problem = launcher.check_script(text, request.job)
    if problem is not None:
        raise PlanError(
            f"{request.script}:{problem.line}: {problem.message}", remedy=problem.remedy
        )
