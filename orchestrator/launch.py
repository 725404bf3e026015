"""The use case: one script on every node.

reach (connect, facts) -> meet -> plan -> spread (sync) -> clear (preflight) -> start -> follow -> verdict
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from orchestrator import events
from orchestrator.errors import PlanError
from orchestrator.inventory import Inventory
from orchestrator.meet import meet
from orchestrator.phase import Phase
from orchestrator.plan import Facts, Job, Plan, make_plan
from orchestrator.plan.fabric import LAUNCH_CALL, LAUNCH_CALL_REMEDY, find_launch_call
from orchestrator.plan.plan import choose_launcher
from orchestrator.preflight.level import Level
from orchestrator.reach import reach
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
    checked before anything starts (None where it cannot be seen from here). `preflight` is how much is
    tried before the start (None: nothing). `grace` is how many seconds ranks have between SIGTERM and
    SIGKILL when the run is stopped.
    """

    inventory: Inventory
    job: Job
    source: Path | None
    script: Path | None = None
    name: str | None = None
    preflight: Level | None = Level.QUICK
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
            with Phase("start", (node.name for node in plan.nodes), emit):
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
    if request.preflight is not None:
        # Importing the checks takes longer than making them: it is done while nodes are waited for.
        asyncio.get_running_loop().run_in_executor(None, import_module, "orchestrator.clear")
    facts, plan = await _decide(fleet, request, emit)
    emit(events.Planned(plan))
    if request.source is not None:
        await spread(fleet, plan, request.source, emit)
    if request.preflight is not None:
        await _clear(fleet, request, facts, plan, request.preflight, emit)
    return facts, plan


async def _decide(fleet: Fleet, request: Request, emit: events.Emit) -> tuple[list[Facts], Plan]:
    """Learn what the nodes are, and plan."""
    facts = await reach(fleet, emit)
    meeting = await meet(
        fleet,
        facts,
        emit,
        address=request.job.main_address or request.inventory.main.address,
        port=request.job.main_port or request.inventory.main.port,
    )
    run = new_name(request.name)
    return facts, make_plan(run, fleet.hosts, facts, request.job, meeting.network, meeting.port)


async def _clear(
    fleet: Fleet, request: Request, facts: list[Facts], plan: Plan, level: Level, emit: events.Emit
) -> None:
    """Have the checks made. They take a while to import, so what makes none does not import them."""
    from orchestrator.clear import require_clear
    from orchestrator.preflight.scene import Scene, Script

    script = Script.read(request.script, request.source) if request.script else None
    await require_clear(fleet, Scene(plan, request.job, tuple(facts), level, script), emit)


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


def check_script(request: Request) -> None:
    """Raise when the script is known to fail under the launcher, before anything is started."""
    if choose_launcher(request.inventory.hosts, request.job) != "fabric" or request.script is None:
        return
    line = find_launch_call(request.script.read_text(encoding="utf-8-sig", errors="replace"))
    if line is not None:
        raise PlanError(f"{request.script}:{line}: {LAUNCH_CALL}", remedy=LAUNCH_CALL_REMEDY)
