"""Ask Slurm for nodes, wait in its queue, and give them back.

The nodes are held by a batch job that does nothing. orch cancels it when the run has ended. If orch cannot,
because it was killed, the job ends by itself: it gives up once it has had no step for a while, and every
connection and every run of orch is a step.
"""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from orchestrator.errors import ConnectionLost, LaunchError, UsageError
from orchestrator.slurm.commands import Commands
from orchestrator.slurm.job import SlurmJob, UnknownJob, checked_id, end_of, show_job
from orchestrator.slurm.waiting import meaning_of, why_never
from orchestrator.util.text import printable

IDLE_TIMEOUT = 120  # seconds without a step after which the job ends by itself
_CHECKS = 8  # in that time
_SOON, _QUICK_INTERVAL, _SLOW_INTERVAL = (
    20.0,
    1.0,
    10.0,
)  # seconds between questions, at first and later
_ANSWER_TIMEOUT = 600.0  # seconds without an answer of Slurm after which the wait for nodes ends
_CONFIRMATIONS = 3  # answers in a row that name a reason for which the job never starts
# Options of sbatch that would make something else than one job that starts as soon as it can.
_REFUSED = ("--array", "--parsable", "--requeue", "--test-only", "--wait", "--wrap")

Tell = Callable[[str], None]


def read_options(text: str) -> list[str]:
    """Return the words of `--slurm`. Raises UsageError for what cannot hold nodes for a run.

    sbatch accepts the start of a long option in place of all of it.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--slurm: {str(error).lower()} in {text!r:.200}") from None
    if ":" in words:
        raise UsageError(
            "--slurm: a heterogeneous job (':' between its parts) is not possible",
            remedy="ask for one kind of nodes; every node of a launch runs the same script",
        )
    for word in words:
        name = word.partition("=")[0]
        is_long = len(name) > 3 and any(refused.startswith(name) for refused in _REFUSED)
        if is_long or word.startswith(("-a", "-W")):
            raise UsageError(
                f"--slurm: {name} is not possible here",
                remedy="a launch is one job, which starts as soon as it can; "
                "--slurm takes options such as '--partition gpu --nodes 4 --time 2:00:00'",
            )
    return words


async def allocate(commands: Commands, words: Sequence[str], name: str, tell: Tell) -> SlurmJob:
    """Submit a job with these options of sbatch, wait until it has its nodes, and return it.

    `tell` gets a sentence when the job is queued, whenever its place or the reason changes, and if Slurm
    does not answer. Raises LaunchError if Slurm refuses it, if it can never start, and if it ends before.
    If cancelled, it cancels the job.
    """
    submitting = asyncio.create_task(_submit(commands, words, name))
    try:
        job = await asyncio.shield(submitting)
    except asyncio.CancelledError:
        with suppress(LaunchError):
            await release(commands, await submitting)
        raise
    try:
        return await _wait(commands, job, tell)
    except BaseException:
        with suppress(LaunchError):
            await release(commands, job)
        raise


async def release(commands: Commands, job: str) -> None:
    """Cancel the job, unless it has ended. Raises LaunchError if that is not possible."""
    argv = ("scancel", "--quiet", job)
    try:
        try:
            await commands.ask(*argv)
        except ConnectionLost:  # to a login host: the next question makes another
            await commands.ask(*argv)
    except LaunchError as error:
        raise LaunchError(
            f"Slurm job {job} was not cancelled ({error.message}); it ends by itself within minutes",
            remedy=f"scancel {job}",
        ) from error


async def _submit(commands: Commands, words: Sequence[str], name: str) -> str:
    own = (
        f"--job-name=orch-{name}", "--output=/dev/null", "--export=PATH,HOME,SLURM_CONF", "--no-requeue",
    )  # fmt: skip
    wrap = f"--wrap={_holding_script(IDLE_TIMEOUT / _CHECKS)}"
    try:
        printed = await commands.ask("sbatch", "--parsable", *own, *words, wrap)
    except ConnectionLost as error:
        raise LaunchError(
            f"{error.message} while sbatch ran there; a job that it has submitted ends by itself within "
            "minutes of its start",
            remedy="squeue --me lists your jobs",
        ) from error
    try:
        return checked_id(printed.strip().partition(";")[0])  # ID;CLUSTER
    except ValueError as error:
        raise LaunchError(f"sbatch: {error}") from None


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


async def _wait(commands: Commands, job: str, tell: Tell) -> SlurmJob:
    """Return the job once it runs. Raises LaunchError if it ends before, or can never start."""
    began = answered = time.monotonic()
    said, hopeless = "", 0
    while True:
        try:
            found = await show_job(commands, job)
        except UnknownJob:
            raise
        except LaunchError as error:
            if time.monotonic() - answered > _ANSWER_TIMEOUT:
                raise
            text = f"Slurm job {job}: no answer ({error.message}); asking again"
        else:
            answered = time.monotonic()
            if found.state == "RUNNING":
                return found
            _raise_if_ended(found)
            hopeless = hopeless + 1 if why_never(found.reason, job, found.partition) else 0
            if hopeless == _CONFIRMATIONS:
                raise _never(found)
            text = await _describe(commands, found)
        if text != said:
            tell(text)
            said = text
        is_soon = hopeless or time.monotonic() - began < _SOON
        await asyncio.sleep(_QUICK_INTERVAL if is_soon else _SLOW_INTERVAL)


def _raise_if_ended(job: SlurmJob) -> None:
    if (end := end_of(job)) is not None:
        raise LaunchError(
            f"{end.text} before the launch", remedy=f"scontrol show job {job.id} shows more"
        )


def _never(job: SlurmJob) -> LaunchError:
    """Return the error for a job whose reason to wait does not pass by itself."""
    meaning, remedy = why_never(job.reason, job.id, job.partition) or ("", "")
    return LaunchError(
        f"Slurm job {job.id} would never start, and was cancelled: {job.reason} ({meaning})",
        remedy=remedy,
    )


async def _describe(commands: Commands, job: SlurmJob) -> str:
    """Return where a waiting job stands, and why."""
    if job.state != "PENDING":
        return f"Slurm job {job.id}: its nodes are made ready ({job.state})"
    parts = [f"Slurm job {job.id} is queued"]
    if place := await _place(commands, job):
        parts.append(place)
    if job.reason:
        known = meaning_of(job.reason, job.id, job.partition)
        parts.append(f"{job.reason} ({known})" if known else job.reason)
    if job.starts:
        parts.append(f"expected to start at {job.starts.replace('T', ' ')}")
    return ", ".join(parts)


async def _place(commands: Commands, job: SlurmJob) -> str:
    """Return the place of a job among those that wait in its partition; empty if that is unknown."""
    try:
        printed = await commands.ask(
            "squeue", "--noheader", "--states=PENDING", "--sort=-p,i", "--format=%i",
            f"--partition={job.partition}",
        )  # fmt: skip
    except LaunchError:
        return ""
    queue = printed.split()
    if job.id not in queue:
        return ""
    return f"place {queue.index(job.id) + 1} of {len(queue)} in {printable(job.partition, 60)}"
