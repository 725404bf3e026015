"""Ask Slurm for nodes, wait in its queue, and give them back.

The nodes are held by a batch job that does nothing. orch cancels it when the run has ended. If orch cannot,
because it was killed, the job ends by itself: it gives up once it has had no step for a while, and every
connection and every run of orch is a step.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from orchestrator.errors import LaunchError, UsageError
from orchestrator.slurm.commands import ask_async
from orchestrator.slurm.job import SlurmJob, checked_id, end_of, parse_job
from orchestrator.util.text import printable

IDLE_TIMEOUT = 120  # seconds without a step after which the job ends by itself
_CHECKS = 8  # in that time
_SOON, _QUICK_INTERVAL, _SLOW_INTERVAL = (
    20.0,
    1.0,
    10.0,
)  # seconds between questions, at first and later
# Options of sbatch that would make something else than one job that starts as soon as it can.
_REFUSED = ("--array", "--parsable", "--requeue", "--test-only", "--wait", "--wrap")
_KEPT = ("SLURM_CONF", "SLURM_CLUSTERS")
_MEANINGS = {
    "BeginTime": "its begin time has not come",
    "Dependency": "it depends on another job",
    "JobHeldAdmin": "held by an administrator",
    "JobHeldUser": "held: scontrol release lets it go",
    "PartitionNodeLimit": "the partition does not allow that many nodes: it will not start",
    "PartitionTimeLimit": "the partition does not allow that long: it will not start",
    "Priority": "jobs of higher priority are before it",
    "Resources": "waiting for nodes to become free",
}

Tell = Callable[[str], None]


def read_options(text: str) -> list[str]:
    """Return the words of `--slurm`. Raises UsageError for what cannot hold nodes for a run.

    sbatch accepts the start of a long option in place of all of it.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--slurm: {str(error).lower()} in {text!r:.200}") from None
    for word in words:
        name = word.partition("=")[0]
        is_long = len(name) > 3 and any(refused.startswith(name) for refused in _REFUSED)
        if is_long or word.startswith(("-a", "-W")) or word == ":":
            raise UsageError(
                f"--slurm: {name} is not possible here",
                remedy="a launch is one job, which starts as soon as it can; "
                "--slurm takes options such as '--partition gpu --nodes 4 --time 2:00:00'",
            )
    return words


async def allocate(words: Sequence[str], name: str, tell: Tell) -> str:
    """Submit a job with these options of sbatch, wait until it has its nodes, and return its id.

    `tell` gets a sentence when the job is queued, whenever its place changes, and when it starts. Raises
    LaunchError if Slurm refuses it, or it ends before it starts. If cancelled, it cancels the job.
    """
    submitting = asyncio.create_task(_submit(words, name))
    try:
        job = await asyncio.shield(submitting)
    except asyncio.CancelledError:
        with suppress(LaunchError):
            await release(await submitting)
        raise
    try:
        await _wait(job, tell)
    except BaseException:
        with suppress(LaunchError):
            await release(job)
        raise
    return job


async def release(job: str) -> None:
    """Cancel the job, unless it has ended. Raises LaunchError if that is not possible."""
    try:
        await ask_async("scancel", "--quiet", job)
    except LaunchError as error:
        raise LaunchError(
            f"Slurm job {job} was not cancelled ({error.message}); it ends by itself within minutes",
            remedy=f"scancel {job}",
        ) from error


async def _submit(words: Sequence[str], name: str) -> str:
    own = (
        f"--job-name=orch-{name}", "--output=/dev/null", "--export=PATH,HOME,SLURM_CONF", "--no-requeue",
    )  # fmt: skip
    wrap = f"--wrap={_holding_script(IDLE_TIMEOUT / _CHECKS)}"
    argv = ("sbatch", "--parsable", *own, *words, wrap)
    printed = await ask_async(*argv, environment=_environment(os.environ))
    try:
        return checked_id(printed.strip().partition(";")[0])  # ID;CLUSTER
    except ValueError as error:
        raise LaunchError(f"sbatch: {error}") from None


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` without what a surrounding job says of itself."""
    return {
        name: value
        for name, value in environment.items()
        if name in _KEPT or not name.startswith("SLURM_")
    }


def _holding_script(interval: float) -> str:
    """Return the script that holds the nodes. A question that fails does not count."""
    return f"""idle=0
while [ $idle -lt {_CHECKS} ]; do
    sleep {interval:g}
    steps=$(squeue --noheader --steps --job="$SLURM_JOB_ID" --format=%i) || continue
    case $steps in
    *.[0-9]*) idle=0 ;;
    *) idle=$((idle + 1)) ;;
    esac
done"""


async def _wait(job: str, tell: Tell) -> None:
    """Wait until the job runs. Raises LaunchError if it ends before."""
    began, said = time.monotonic(), ""
    while True:
        found = parse_job(job, await ask_async("scontrol", "show", "job", "--details", job))
        if found.state == "RUNNING":
            return
        if (end := end_of(found)) is not None:
            raise LaunchError(
                f"{end.text} before the launch", remedy=f"scontrol show job {job} shows more"
            )
        text = await _describe(found)
        if text != said:
            tell(text)
            said = text
        is_soon = time.monotonic() - began < _SOON
        await asyncio.sleep(_QUICK_INTERVAL if is_soon else _SLOW_INTERVAL)


async def _describe(job: SlurmJob) -> str:
    """Return where a waiting job stands, and why."""
    if job.state != "PENDING":
        return f"Slurm job {job.id}: its nodes are made ready ({job.state})"
    parts = [f"Slurm job {job.id} is queued"]
    if place := await _place(job):
        parts.append(place)
    if job.reason:
        known = _MEANINGS.get(job.reason.partition(",")[0])
        parts.append(f"{job.reason} ({known})" if known else job.reason)
    if job.starts:
        parts.append(f"expected to start at {job.starts.replace('T', ' ')}")
    return ", ".join(parts)


async def _place(job: SlurmJob) -> str:
    """Return the place of a job among those that wait in its partition; empty if that is unknown."""
    try:
        printed = await ask_async(
            "squeue", "--noheader", "--states=PENDING", "--sort=-p,i", "--format=%i",
            f"--partition={job.partition}",
        )  # fmt: skip
    except LaunchError:
        return ""
    queue = printed.split()
    if job.id not in queue:
        return ""
    return f"place {queue.index(job.id) + 1} of {len(queue)} in {printable(job.partition, 60)}"
