"""Make a plan that can be started on connected nodes: rendezvous, plan, upload, checks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator import events
from orchestrator.pipeline.exec_limits import check_exec_limits
from orchestrator.pipeline.outgoing import survey_folder
from orchestrator.pipeline.rendezvous import find_rendezvous
from orchestrator.pipeline.upload import Files, find_workdirs, upload
from orchestrator.plan import Facts, Job, Plan, make_plan
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
    """Choose the rendezvous and return the plan. Raises UsageError or PlanError."""
    address = spec.job.main_address or spec.main.address
    port = spec.job.main_port or spec.main.port
    network, port = await find_rendezvous(fleet, facts, emit, address=address, port=port)
    plan = make_plan(run, fleet.hosts, facts, spec.job, network, port)
    log.info(
        "plan of run %s: %d ranks on %d nodes, by %s, rendezvous at %s port %d",
        *(run, plan.world_size, len(plan.nodes), plan.launcher, plan.main_address, plan.main_port),
    )
    return plan


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
    """Copy the job's files to the nodes of `plan` and run the checks of `level` (None: none).

    Returns the plan with the folders of the files, and their tree (None: not needed). `folders` are those
    of nodes that took part in the run before (None: this is the launch); a restart uses the files that
    were launched; `copy` is the folder that may have a copy. `sync_limit` is the maximum size of the
    local folder, in bytes (None: no limit). Raises SyncError, PreflightError if a check fails, and
    LaunchError if the job's environment exceeds a limit of a node.
    """
    await check_exec_limits(fleet, plan)
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
    # Slow to import.
    from orchestrator.pipeline.checks import require_checks
    from orchestrator.preflight.model import Context, Script

    script = None
    if spec.script is not None and spec.script.is_file():
        script = Script.read(spec.script, spec.source)
    context = Context(plan, spec.job, tuple(facts), level, script, sends=False)
    await require_checks(fleet, context, emit)
    return plan, tree


async def copy_for_spares(tree: Tree, folder: Path, emit: events.Emit) -> None:
    """Copy the launched tree into the new `folder`, for spares that join after it has changed."""
    try:
        await asyncio.to_thread(copy_tree, tree, folder)
    except OSError as error:
        message = (
            f"a spare can take part only while {tree.root} does not change: it could not be copied to "
            f"{folder}: {error.strerror}"
        )
        emit(events.Warned(message))


async def with_workdirs(fleet: Fleet, plan: Plan, job: Job) -> Plan:
    """Return the plan with the folders that the job's project has on the nodes, or would have."""
    owner, source = owner_of(job.project), source_of(job.project)
    return await find_workdirs(fleet, plan, Files(owner, source, None, _own(plan, job)))


def _own(plan: Plan, job: Job) -> frozenset[str]:
    """Return the nodes where the job works in a folder of its project, since no other one is given."""
    if job.workdir is not None:
        return frozenset()
    return frozenset(node.name for node in plan.nodes if node.host.workdir is None)


def _opened(spec: LaunchSpec) -> tuple[str, ...]:
    """Return the files that the script opens, as far as its source shows that."""
    try:
        text = "" if spec.script is None else spec.script.read_text("utf-8-sig", "replace")
    except OSError:
        text = ""  # it was removed after the launch; the run has a copy
    return opened_files(text, spec.job.arguments)
