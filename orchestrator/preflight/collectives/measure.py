"""Measure an all_reduce, and pairs of nodes, with the job's launcher, environment, network and port."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from orchestrator.errors import LaunchError
from orchestrator.plan import Network, Plan, make_plan
from orchestrator.preflight.collectives.result import Gloo, Nccl, Result
from orchestrator.preflight.collectives.task import Task
from orchestrator.preflight.collectives.trial import run_trial
from orchestrator.preflight.interfaces import tournament
from orchestrator.preflight.model import Advance, Context, Measurement, NoAnswer
from orchestrator.preflight.reach.reachability import Reachability
from orchestrator.preflight.script.imports import is_plain
from orchestrator.remote.fleet import Fleet

_SCRIPT = "all_reduce.py"
_MAX_ROUNDS = 15  # in which up to 16 nodes meet all others, and more of them 15 others each
_BUDGET = 0.5  # seconds for the trials of one size, or of one round
_JOIN_TIMEOUT = 45.0  # seconds in which a rank waits for the others
_WORK_TIMEOUT = 40.0  # seconds for everything after that, on slow links too
_MARGIN = 10.0  # seconds for launchers to start and to end, and for ranks to give up by themselves
_IMPORT_TIMEOUT = 30.0  # seconds to import torch from a slow file system

M = TypeVar("M", bound=Result)


def why_not(kind: type[Result], context: Context) -> str | None:
    """Return why there is nothing to measure; None if there is something."""
    if is_plain(context):
        return "the job does not use torch"
    if kind is Gloo:
        return "there is only one node" if len(context.names) == 1 else None
    without = [node for node in context.nodes if node.gpus == 0]
    if without:
        every = len(without) == len(context.names)
        return "no rank has a GPU" if every else "not every node has a GPU for its ranks"
    if context.plan.world_size == 1:
        return "there is only one rank"
    if len(context.names) > 1 and context.on_one_machine:
        return "all nodes are this machine, and share its GPUs"
    return None


async def _measure(kind: type[M], fleet: Fleet, context: Context, advance: Advance) -> M:
    if why_not(kind, context) is not None:
        return kind()
    require_connectivity(context)
    rounds = tournament.rounds(len(context.names), _MAX_ROUNDS)
    found = await _try(kind, fleet, context, kind.byte_sizes, rounds, "first", advance)
    suspects = tournament.slow(found.pairs)
    if not found.complete or not suspects:
        return found
    size = max(found.sizes, key=lambda each: each.size).size
    rounds = tournament.retest(suspects, found.pairs)
    again = await _try(kind, fleet, context, (size,), rounds, "again", lambda name, well: None)
    return replace(found, retested=again.pairs)


async def _try(
    kind: type[M],
    fleet: Fleet,
    context: Context,
    sizes: tuple[int, ...],
    rounds: Sequence[tournament.Round],
    name: str,
    advance: Advance,
) -> M:
    """Run the script once on all nodes."""
    task = Task(
        backend=kind.backend,
        devices=tuple(1 if kind is Gloo else node.devices for node in context.plan.nodes),
        sizes=sizes,
        rounds=tuple(rounds),
        budget=_BUDGET,
        join_timeout=_JOIN_TIMEOUT,
        limit=_WORK_TIMEOUT,
        mark=f"{secrets.token_hex(8)} ",
    )
    plan = _plan(kind, context, name, task.argument)
    text = Path(__file__).with_name(_SCRIPT).read_text(encoding="utf-8")
    limit = _IMPORT_TIMEOUT + task.join_timeout + task.limit + _MARGIN
    shares = await run_trial(fleet, plan, text, task.mark, limit, advance)
    return kind.collect(plan, task, shares)


def _plan(kind: type[Result], context: Context, name: str, argument: str) -> Plan:
    """Return the plan of the job, with the script of the trial in place of its own."""
    plan, job = context.plan, context.job
    job = replace(
        job,
        script=_SCRIPT,
        arguments=(argument,),
        module=False,
        program=False,
        devices=1 if kind is Gloo else job.devices,
        devices_by_node={} if kind is Gloo else job.devices_by_node,
        launcher_arguments=context.launcher.trial_arguments(job.launcher_arguments),
    )
    network = Network(
        plan.main_address,
        tuple(node.interface for node in plan.nodes),
        plan.subnet,
        tuple(node.address for node in plan.nodes),
    )
    hosts = [node.host for node in plan.nodes]
    run = f"{plan.run}-{kind.backend}-{name}"
    return make_plan(run, hosts, context.facts, job, network, plan.main_port)


def require_connectivity(context: Context) -> None:
    """Raise LaunchError if the ranks are known to be unable to connect: they would time out."""
    for check in ("nic.pick", "net.bind"):
        if check in context.trouble:
            raise LaunchError(f"the ranks have no address to connect to: see {check}")
    found = context.find(Reachability)
    if isinstance(found, NoAnswer):
        return  # not known: try
    if found.main_port is not None:
        raise LaunchError("main's port cannot be listened on: see net.bind")
    if not all(outcome.passed for outcome in found.outcomes.values()):
        raise LaunchError("connections between the nodes are blocked: see net.tcp")


GLOO: Measurement[Gloo] = Measurement(
    "gloo", Gloo, lambda fleet, context, advance: _measure(Gloo, fleet, context, advance)
)
NCCL: Measurement[Nccl] = Measurement(
    "nccl", Nccl, lambda fleet, context, advance: _measure(Nccl, fleet, context, advance)
)
