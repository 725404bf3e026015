"""The use case: one script on every node.

reach (connect, facts) -> meet -> plan -> spread (sync) -> clear (preflight) -> start -> follow -> verdict,
and from there, where it failed and is to be started `again`, back to the beginning
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from orchestrator import events
from orchestrator.again import mind
from orchestrator.errors import LaunchError, PlanError, UsageError
from orchestrator.inventory import Inventory
from orchestrator.phase import Phase
from orchestrator.plan import Facts, Job, Plan
from orchestrator.plan.fabric import LAUNCH_CALL, LAUNCH_CALL_REMEDY, find_launch_call
from orchestrator.plan.plan import choose_launcher
from orchestrator.preflight.level import Level
from orchestrator.reach import reach
from orchestrator.ready import decide, prepare
from orchestrator.remote.fleet import Fleet
from orchestrator.remote.line import Line
from orchestrator.remote.ssh import ConnectOptions
from orchestrator.runs.interrupts import Interrupts
from orchestrator.runs.keeper import have_kept
from orchestrator.runs.names import new_name
from orchestrator.runs.recipe import Recipe
from orchestrator.runs.record import Record
from orchestrator.runs.run import Detached
from orchestrator.runs.settings import Embedded, Settings, Terms, watchful
from orchestrator.runs.start import start
from orchestrator.runs.verdict import Verdict
from orchestrator.runs.wishes import Wish, leave_wish


@dataclass(frozen=True)
class Request:
    """What a launch is asked to do.

    `source` is the folder that goes to the nodes (None: they have the files), and `script` what is
    checked before anything starts (None where it cannot be seen from here). `preflight` is how much is
    tried before the start (None: nothing). `detach` is to return once the job runs, and have it minded in
    the background. `restarts` is how often all of it is started again when it fails (an elastic job says
    itself how often torchrun does). `embedded` are the nodes that live in this process.
    """

    inventory: Inventory
    job: Job
    source: Path | None
    script: Path | None = None
    name: str | None = None
    preflight: Level | None = Level.QUICK
    detach: bool = False
    restarts: int = 0
    terms: Terms = field(default_factory=Terms)
    connect: ConnectOptions = field(default_factory=ConnectOptions)
    embedded: Embedded | None = None

    @property
    def recipe(self) -> Recipe:
        """What of it is needed to start the job, and to start it again."""
        return Recipe(
            job=self.job,
            hosts=self.inventory.hosts,
            spares=self.inventory.spares,
            main=self.inventory.main,
            source=self.source and self.source.absolute(),
            script=self.script and self.script.absolute(),
            preflight=self.preflight is not None,
            restarts=self.restarts,
        )


async def launch(
    request: Request, emit: events.Emit, interrupts: Interrupts | None = None
) -> Verdict | None:
    """Run the job on all nodes and return how it ended, or None when it goes on in the background.

    `emit` hears everything that happens; `interrupts` is how a person stops it, or leaves it. Raises
    UsageError for a request that makes no sense, LaunchError when the job could not be started; then
    nothing runs.
    """
    check(request)
    interrupts = interrupts or Interrupts()
    if request.detach:
        interrupts.leave("detached")
    options = watchful(request.connect, request.terms.node_timeout)
    fleet = Fleet(request.inventory.hosts, options)
    lines: list[Line] = []
    try:
        facts, plan = await interrupts.abort(_make_ready(fleet, request, emit))
        recipe = request.recipe if request.restarts else None
        record = Record.create(plan, _settings(request, facts), recipe)
        lines = fleet.lines()
        interrupts.has_started = True
        try:
            with Phase("start", (node.name for node in plan.nodes), emit):
                await _start(record, lines)
            return await mind(record, lines, emit, interrupts, options)
        except Detached as left:
            reason = str(left)
        finally:
            record.close()
    finally:
        await asyncio.gather(*(line.close() for line in lines))
        await fleet.close()
    await have_kept(record.folder, record.recipe)
    if interrupts.count == 0:
        emit(events.Detached(plan.run, reason))
    else:  # while it was handed over
        leave_wish(record.folder, Wish("interrupted", None))
        why = "it was left, then interrupted"
        emit(events.Warned(f"run {plan.run} is stopped in the background: {why}"))
    return None


def run(request: Request, emit: events.Emit = lambda event: None) -> Verdict | None:
    """Do what `launch` does, and return when the job has ended, or goes on in the background."""
    return asyncio.run(launch(request, emit))


async def _start(record: Record, lines: list[Line]) -> None:
    """Start the job on every node, or on none, and keep on record which."""
    try:
        await start(record.plan, lines, record.settings)
    except LaunchError as error:
        with suppress(OSError):  # a full disk must not hide why the job could not be started
            record.write_state("failed", exit_code=error.exit_code, summary=error.message)
        raise
    with suppress(OSError):
        record.write_state("running")


def _settings(request: Request, facts: list[Facts]) -> Settings:
    names = (host.name for host in request.inventory.hosts)
    return Settings(
        **vars(request.terms),
        script=request.job.command,
        skews=dict(zip(names, (fact.clock_skew for fact in facts), strict=True)),
        connect_timeout=request.connect.timeout,
        accept_new=request.connect.accept_new,
        embedded=request.embedded,
    )


async def _make_ready(
    fleet: Fleet, request: Request, emit: events.Emit
) -> tuple[list[Facts], Plan]:
    """Do everything that comes before the first process is started."""
    if request.preflight is not None:
        # Importing the checks takes longer than making them: it is done while nodes are waited for.
        asyncio.get_running_loop().run_in_executor(None, import_module, "orchestrator.clear")
    facts, plan = await _decide(fleet, request, emit)
    emit(events.Planned(plan))
    await prepare(fleet, facts, plan, request.recipe, request.preflight, emit)
    return facts, plan


async def _decide(fleet: Fleet, request: Request, emit: events.Emit) -> tuple[list[Facts], Plan]:
    """Learn what the nodes are, and plan."""
    facts = await reach(fleet, emit)
    return facts, await decide(fleet, facts, request.recipe, new_name(request.name), emit)


async def dry_run(
    request: Request, emit: events.Emit, interrupts: Interrupts | None = None
) -> Plan:
    """Return what `launch` would run, having asked the nodes what they are, and started nothing."""
    check(request)
    fleet = Fleet(request.inventory.hosts, request.connect)
    try:
        return (await (interrupts or Interrupts()).abort(_decide(fleet, request, emit)))[1]
    finally:
        await fleet.close()


def check(request: Request) -> None:
    """Raise when it makes no sense, or the script is known to fail under the launcher, before anything is
    started.
    """
    if request.job.elastic is not None and (request.restarts or request.terms.keep_going):
        raise UsageError(
            "what an elastic job does when a rank fails is up to torchrun",
            remedy="leave out either --elastic or --on-failure continue",
        )
    if choose_launcher(request.inventory.hosts, request.job) != "fabric" or request.script is None:
        return
    line = find_launch_call(request.script.read_text(encoding="utf-8-sig", errors="replace"))
    if line is not None:
        raise PlanError(f"{request.script}:{line}: {LAUNCH_CALL}", remedy=LAUNCH_CALL_REMEDY)
