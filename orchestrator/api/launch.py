"""The use case: launch one script on every node.

connect -> rendezvous -> plan -> upload -> checks -> start -> follow -> verdict (`connected_launch.py`); and
again from the start if it failed and may be restarted (`control/restarts.py`)
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from orchestrator import events
from orchestrator.api.launch_request import Request, check
from orchestrator.control.interrupts import Interrupts
from orchestrator.pipeline.connect import connect_all, warn_of_broken_launchers
from orchestrator.plan import Facts, Plan, paste
from orchestrator.remote.fleet import Fleet
from orchestrator.runs.options import with_silence_timeout

if TYPE_CHECKING:
    from orchestrator.control.verdict import Verdict  # slow to import


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
    try:
        facts = await interrupts.abort(_connect(fleet, request, emit))
    except BaseException:
        await fleet.close()
        raise
    from orchestrator.api.connected_launch import launch_connected  # imported by _connect

    return await launch_connected(request, fleet, facts, emit, interrupts)


async def _connect(fleet: Fleet, request: Request, emit: events.Emit) -> list[Facts]:
    """Connect to the nodes, and import meanwhile what the rest of the launch needs."""
    modules = ["orchestrator.api.connected_launch"]
    if request.preflight is not None:
        modules.append("orchestrator.pipeline.checks")
    importing = asyncio.get_running_loop().run_in_executor(None, _import, modules)
    facts, _ = await asyncio.gather(connect_all(fleet, emit), warn_of_broken_launchers(emit))
    await importing
    return facts


def _import(modules: Sequence[str]) -> None:
    for module in modules:
        import_module(module)


def _allow_leaving(request: Request, emit: events.Emit, interrupts: Interrupts) -> None:
    """Detach at once with --detach, and never if the run would end with its controller."""
    if not request.transport.capabilities.outlives_controller:
        why = f"over transport {request.transport.name} the run would end with this command"
        interrupts.forbid_detach(lambda: emit(events.Warned(f"the run is not left: {why}")))
    if request.detach:
        interrupts.detach("detached")


async def dry_run(
    request: Request, emit: events.Emit, interrupts: Interrupts | None = None
) -> Plan:
    """Return what `launch` would run; asks the nodes for their facts, but starts nothing."""
    check(request)
    fleet = Fleet(request.inventory.hosts, request.transport)
    # Slow to import.
    from orchestrator.pipeline.prepare import plan_job, with_workdirs

    async def planned() -> Plan:
        facts, _ = await asyncio.gather(connect_all(fleet, emit), warn_of_broken_launchers(emit))
        plan = await plan_job(fleet, facts, request.spec, request.new_name(), emit)
        return await with_workdirs(fleet, plan, request.job)

    try:
        return await (interrupts or Interrupts()).abort(planned())
    finally:
        await fleet.close()


def commands(plan: Plan) -> str:
    """Return the commands of a plan as text, ready to paste."""
    return "".join(f"{line}\n" for line in paste.shell_commands(plan))
