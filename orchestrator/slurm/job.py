"""What `scontrol show job --details` says of a job."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.errors import LaunchError
from orchestrator.slurm.commands import ask
from orchestrator.util.text import printable

_ID = re.compile(r"[0-9]{1,10}([+_][0-9]{1,10})?")
_GPUS = re.compile(r"gpu(?::[^:,()]+)?:([0-9]{1,4})(?:\(|,|$)")
_NONE = ("(null)", "None", "N/A", "")


@dataclass(frozen=True)
class SlurmJob:
    """A job of Slurm.

    `state` is a word such as RUNNING, `reason` why it waits or how it ended, in Slurm's word (empty if
    there is none). `nodes` is a host list as Slurm writes it (empty until it has nodes). `tasks_per_node`
    is 1 if the job did not ask for more. `gpus` has the number of GPUs for parts of the nodes.
    """

    id: str
    state: str
    reason: str
    nodes: str
    tasks_per_node: int = 1
    gpus: tuple[tuple[str, int], ...] = ()
    time_limit: str = ""


def checked_id(job: str) -> str:
    """Return the id of a job. Raises ValueError if it cannot be one."""
    if not _ID.fullmatch(job):
        raise ValueError(f"expected the id of a Slurm job, a number; found {printable(job, 40)!r}")
    return job


def show_job(job: str) -> SlurmJob:
    """Return what Slurm knows of a job. Raises LaunchError if it does not know it, or does not answer."""
    return parse_job(job, ask("scontrol", "show", "job", "--details", job))


def host_names(nodes: str) -> list[str]:
    """Return the names of a host list, in Slurm's order. Raises LaunchError."""
    return ask("scontrol", "show", "hostnames", nodes).split()


def parse_job(job: str, text: str) -> SlurmJob:
    """Return the job in what `scontrol show job --details` printed. Raises LaunchError."""
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
        id=job,
        state=field(r"JobState=(\S+)"),
        reason=field(r"JobState=\S+ Reason=(.*?)(?: Dependency=|$)"),
        nodes=field(r"NodeList=(\S+)"),
        tasks_per_node=_tasks(field),
        gpus=tuple(
            (nodes, sum(map(int, _GPUS.findall(resources))))
            for nodes, resources in re.findall(r"^ +Nodes=(\S+) .*?GRES=(\S*)", block, re.MULTILINE)
        ),
        time_limit=field(r"RunTime=\S+ TimeLimit=(\S+)"),
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
