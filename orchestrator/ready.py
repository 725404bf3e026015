"""From nodes that are reached to a plan that can be started: meet -> plan, and spread -> clear."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator import events
from orchestrator.meet import meet
from orchestrator.plan import Facts, Plan, make_plan
from orchestrator.preflight.level import Level
from orchestrator.remote.fleet import Fleet
from orchestrator.runs.recipe import Recipe
from orchestrator.spread import spread


async def decide(
    fleet: Fleet, facts: Sequence[Facts], recipe: Recipe, run: str, emit: events.Emit
) -> Plan:
    """Settle where the ranks meet, and return what is to run where. Raises UsageError or PlanError."""
    meeting = await meet(
        fleet,
        facts,
        emit,
        address=recipe.job.main_address or recipe.main.address,
        port=recipe.job.main_port or recipe.main.port,
    )
    return make_plan(run, fleet.hosts, facts, recipe.job, meeting.network, meeting.port)


async def prepare(
    fleet: Fleet,
    facts: Sequence[Facts],
    plan: Plan,
    recipe: Recipe,
    level: Level | None,
    emit: events.Emit,
    *,
    sync: bool = True,
) -> None:
    """Bring the job's folder to the nodes of `plan`, if it is to `sync`, and make the checks of `level`.

    Raises SyncError, and PreflightError where a check fails.
    """
    if recipe.source is not None and sync:
        await spread(fleet, plan, recipe.source, emit)
    if level is None:
        return
    # The checks take a while to import, so what makes none does not import them.
    from orchestrator.clear import require_clear
    from orchestrator.preflight.scene import Scene, Script

    script = None
    if recipe.script is not None and recipe.script.is_file():
        script = Script.read(recipe.script, recipe.source)
    await require_clear(fleet, Scene(plan, recipe.job, tuple(facts), level, script), emit)
