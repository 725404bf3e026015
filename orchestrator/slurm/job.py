"""What `scontrol show job --details` says of a job."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from orchestrator.errors import LaunchError
from orchestrator.slurm.commands import Commands
from orchestrator.util.text import printable

_ID = re.compile(r"[0-9]{1,10}")
_ID_OR_TASK = re.compile(r"[0-9]{1,10}(_[0-9]{1,10})?")
_OWN_ID = re.compile(r"\s*JobId=([0-9]{1,10})\b")
_HETEROGENEOUS = re.compile(r"\s*JobId=[0-9]{1,10} HetJobId=")
_GPUS = re.compile(r"gpu(?::[^:,()]+)?:([0-9]{1,4})(?:\(|,|$)")
_WAITING = ("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT")
_LIVE = (*_WAITING, "CONFIGURING", "RESIZING", "RUNNING", "STOPPED", "SUSPENDED")
_UNKNOWN = "Invalid job id specified"
_NONE = ("(null)", "None", "N/A", "Unknown", "")


@dataclass(frozen=True)
class SlurmJob:
    """A job of Slurm.

    `state` is a word such as RUNNING, `reason` why it waits or how it ended, in Slurm's word (empty if
    there is none). `nodes` is a host list as Slurm writes it (empty until it has nodes). `tasks_per_node`
    is 1 if the job did not ask for more. `gpus` has the number of GPUs for parts of the nodes. `starts` is
    when it is expected to start, or has started, as Slurm writes it (empty if that is unknown). A job
    `is_heterogeneous` if this is only one of its parts.
    """

    id: str
    state: str
    reason: str
    nodes: str
    tasks_per_node: int = 1
    gpus: tuple[tuple[str, int], ...] = ()
    time_limit: str = ""
    partition: str = ""
    starts: str = ""
    is_heterogeneous: bool = False


@dataclass(frozen=True)
class JobEnd:
    """How a job ended, or how it is ending: `is_over` then is false, and the rest may still change."""

    kind: Literal["cancelled", "time-limit", "node-failed", "preempted", "ended"]
    text: str
    is_over: bool = True


def end_of(job: SlurmJob) -> JobEnd | None:
    """Return how the job ended, None if it has not begun to."""
    if job.state in _LIVE:
        return None
    is_over = job.state != "COMPLETING"
    who, word = f"Slurm job {job.id}", f"{job.state} {job.reason}"
    if "TIMEOUT" in word or "TimeLimit" in word:
        return JobEnd("time-limit", f"{who} reached its time limit ({job.time_limit})", is_over)
    if "NODE_FAIL" in word or "NodeDown" in word:
        return JobEnd("node-failed", f"{who} ended because one of its nodes failed", is_over)
    if "PREEMPTED" in word:
        return JobEnd("preempted", f"{who} was preempted by another job", is_over)
    if "CANCELLED" in word:
        return JobEnd("cancelled", f"{who} was cancelled", is_over)
    return JobEnd("ended", f"{who} ended ({word.strip()})", is_over)


class UnknownJob(LaunchError):
    """Slurm does not know the job, or has forgotten it."""


async def find_loss(commands: Commands, job: str) -> JobEnd | None:
    """Ask Slurm why a job has lost the nodes that it had; None if it has them.

    Raises LaunchError if Slurm does not answer.
    """
    try:
        found = await show_job(commands, job)
    except UnknownJob:
        return JobEnd("ended", f"Slurm job {job} ended, and Slurm has forgotten it")
    if found.state not in _WAITING:
        return end_of(found)
    # After a failure of a node, or a preemption; its nodes may be others.
    return JobEnd(
        "ended",
        f"Slurm job {job} was put back into the queue: preempted, requeued, or a node failed",
    )


def checked_id(job: str, *, may_be_task: bool = False) -> str:
    """Return the id of a job, or with `may_be_task` of a job or of a task of an array, `4711_3`.

    Raises ValueError if it cannot be one.
    """
    if not (_ID_OR_TASK if may_be_task else _ID).fullmatch(job):
        raise ValueError(f"expected the id of a Slurm job, a number; found {printable(job, 40)!r}")
    return job


def job_words(job: str) -> tuple[str, ...]:
    """Return the program whose output `parse_job` reads, with its arguments."""
    return ("scontrol", "show", "job", "--details", job)


async def show_job(commands: Commands, job: str) -> SlurmJob:
    """Return what Slurm knows of a job. Raises UnknownJob, and LaunchError if it does not answer."""
    try:
        printed = await commands.ask(*job_words(job))
    except LaunchError as error:
        if _UNKNOWN not in error.message:
            raise
        raise UnknownJob(error.message) from error
    return parse_job(job, printed)


def host_words(nodes: str) -> tuple[str, ...]:
    """Return the program that prints the names of a host list in Slurm's order, with its arguments."""
    return ("scontrol", "show", "hostnames", nodes)


def parse_job(job: str, text: str) -> SlurmJob:
    """Return the job in what `scontrol show job --details` printed. Raises LaunchError.

    A task of an array has an id of its own, which other programs of Slurm take.
    """
    blocks = [block for block in text.split("\n\n") if "JobState=" in block]
    if not blocks:
        raise LaunchError(f"scontrol says nothing about Slurm job {job}: {printable(text, 100)!r}")
    named = [block for block in blocks if re.match(rf"\s*JobId={re.escape(job)}\b", block)]
    return _parse_block(job, (named or blocks)[0])


def _parse_block(job: str, block: str) -> SlurmJob:
    """Fields are taken where Slurm writes them: a name or comment of the user may look like a field."""

    def field(pattern: str) -> str:
        found = re.search(rf"^ *{pattern}", block, re.MULTILINE)
        value = found[1] if found else ""
        return "" if value in _NONE else printable(value, 4000)

    return SlurmJob(
        id=own[1] if (own := _OWN_ID.match(block)) else job,
        state=field(r"JobState=(\S+)"),
        # scontrol writes the spaces of a reason in words as underscores; names have none.
        reason=field(r"JobState=\S+ Reason=(.*?)(?: Dependency=|$)").replace("_", " "),
        nodes=field(r"NodeList=(\S+)"),
        tasks_per_node=_tasks(field),
        gpus=tuple(
            (nodes, sum(map(int, _GPUS.findall(resources))))
            for nodes, resources in re.findall(r"^ +Nodes=(\S+) .*?GRES=(\S*)", block, re.MULTILINE)
        ),
        time_limit=field(r"RunTime=\S+ TimeLimit=(\S+)"),
        partition=field(r"Partition=(\S+)"),
        starts=field(r"StartTime=(\S+)"),
        is_heterogeneous=_HETEROGENEOUS.match(block) is not None,
    )


def _tasks(field: Callable[[str], str]) -> int:
    """Return the tasks on each node: as asked for, else if the job's tasks divide evenly."""
    asked = field(r"Socks/Node=\S+ NtasksPerN:B:S:C=([0-9]+):")
    if asked and int(asked) > 0:
        return int(asked)
    nodes, tasks = field(r"NumNodes=([0-9]+)"), field(r"NumNodes=\S+ NumCPUs=\S+ NumTasks=([0-9]+)")
    if not nodes or not tasks or int(nodes) < 1 or int(tasks) % int(nodes):
        return 1
    return max(1, int(tasks) // int(nodes))
