"""From connected nodes to a plan that can be started: rendezvous and plan; then upload and checks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator import events
from orchestrator.pipeline.exec_limits import require_room
from orchestrator.pipeline.outgoing import survey_folder
from orchestrator.pipeline.rendezvous import find_rendezvous
from orchestrator.pipeline.upload import Files, find, upload
from orchestrator.plan import Facts, Job, Plan, make_plan
from orchestrator.plan.launchers import registry
from orchestrator.plan.opened_files import opened_files
from orchestrator.preflight.level import Level
from orchestrator.remote.fleet import Fleet
from orchestrator.runs.identity import owner_of, source_of
from orchestrator.runs.launch_spec import LaunchSpec
from orchestrator.sync import Tree
from orchestrator.sync.copied import copy_tree
from orchestrator.util.log import logger

log = logger("pipeline")


async def plan_job(
    fleet: Fleet, facts: Sequence[Facts], spec: LaunchSpec, run: str, emit: events.Emit
) -> Plan:
    """Settle where the ranks meet, and return what is to run where. Raises UsageError or PlanError."""
    meeting = await find_rendezvous(
        fleet,
        facts,
        emit,
        address=spec.job.main_address or spec.main.address,
        port=spec.job.main_port or spec.main.port,
    )
    plan = make_plan(run, fleet.hosts, facts, spec.job, meeting.network, meeting.port)
    log.info(
        "plan of run %s: %d ranks on %d nodes, by %s, meeting at %s port %d",
        run,
        plan.world_size,
        len(plan.nodes),
        plan.launcher,
        plan.main_address,
        plan.main_port,
    )
    return plan


async def warn_of_broken_launchers(emit: events.Emit) -> None:
    """Load the launchers of other packages, and tell of those that are left out."""
    for warning in await asyncio.to_thread(registry.left_out):
        emit(events.Warned(warning))


async def prepare(
    fleet: Fleet,
    facts: Sequence[Facts],
    plan: Plan,
    spec: LaunchSpec,
    level: Level | None,
    emit: events.Emit,
    *,
    folders: Mapping[str, str] | None = None,
    copy: Path | None = None,
    sync_limit: int | None = None,
) -> tuple[Plan, Tree | None]:
    """Have the job's files on the nodes of `plan`, and make the checks of `level`.

    Returns the plan with the folders that they are in, and the tree that they are (None: it was not looked
    at). Nodes that had a share of the run have them in the `folders` of these names, and what was launched
    is what has to be there, of which `copy` may have a copy (None: this is the launch). A folder of more
    than `sync_limit` bytes is not sent (None: any is). Raises SyncError, PreflightError where a check
    fails, and LaunchError where a kernel would not take the job's environment.
    """
    await require_room(fleet, plan)
    given = folders or {}
    nodes = (replace(node, workdir=given.get(node.name, node.workdir)) for node in plan.nodes)
    plan = replace(plan, nodes=tuple(nodes))
    is_known = folders is None or spec.digest is not None
    files = Files(
        owner=owner_of(spec.job.project),
        source=source_of(spec.job.project),
        folder=spec.source if is_known else None,
        own=_own(plan, spec.job) - given.keys(),
        overwrite=spec.overwrite,
        names=_opened(spec),
        digest=None if folders is None else spec.digest,
        copy=copy,
    )
    tree = None
    if files.folder is not None and files.digest is None:
        tree = await survey_folder(files.folder, sync_limit, emit)
    plan, tree = await upload(fleet, plan, files, tree, emit)
    if level is None:
        return plan, tree
    # The checks take a while to import, so what makes none does not import them.
    from orchestrator.pipeline.checks import require_checks
    from orchestrator.preflight.model import Context, Script

    script = None
    if spec.script is not None and spec.script.is_file():
        script = Script.read(spec.script, spec.source)
    context = Context(plan, spec.job, tuple(facts), level, script, sends=False)
    await require_checks(fleet, context, emit)
    return plan, tree


async def copy_for_spares(tree: Tree, folder: Path, emit: events.Emit) -> None:
    """Copy the tree of a launch into `folder`, which is made, for spares that come when it has changed."""
    try:
        await asyncio.to_thread(copy_tree, tree, folder)
    except OSError as error:
        emit(
            events.Warned(
                f"a spare can take part only while {tree.root} does not change: no copy could be made in "
                f"{folder}: {error.strerror}"
            )
        )


async def with_workdirs(fleet: Fleet, plan: Plan, job: Job) -> Plan:
    """Return the plan with the folders that the job's project has on the nodes, or would have."""
    owner, source = owner_of(job.project), source_of(job.project)
    return await find(fleet, plan, Files(owner, source, None, _own(plan, job)))


def _own(plan: Plan, job: Job) -> frozenset[str]:
    """Return the nodes on which nobody says where the job works: it does in a folder of its project's."""
    if job.workdir is not None:
        return frozenset()
    return frozenset(node.name for node in plan.nodes if node.host.workdir is None)


def _opened(spec: LaunchSpec) -> tuple[str, ...]:
    """Return the files that the script opens, as far as it can be seen from here."""
    try:
        text = "" if spec.script is None else spec.script.read_text("utf-8-sig", "replace")
    except OSError:
        text = ""  # it has gone since the launch; the run has its own
    return opened_files(text, spec.job.arguments)
