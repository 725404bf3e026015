"""The nodes of a Slurm job: their order, and their GPUs or tasks."""

from __future__ import annotations

import os
import re

from orchestrator.errors import InventoryError, LaunchError
from orchestrator.inventory.model import Host, Inventory, TransportChoice
from orchestrator.inventory.ranges import expand
from orchestrator.inventory.readers.base import Reader, Source
from orchestrator.slurm.commands import ask, job_here
from orchestrator.slurm.job import SlurmJob, checked_id, host_words, job_words, parse_job

_TASKS = re.compile(r"([0-9]{1,5})(?:\(x([0-9]{1,5})\))?")


class SlurmReader(Reader):
    """Reads `slurm:4711`, or `slurm:` for the job that orch runs in."""

    name = "slurm"
    help = "the nodes of a Slurm job"

    def recognises(self, source: Source) -> bool:
        return False  # by its name only

    def job(self) -> str | None:
        return None if (job := job_here()) is None else f"Slurm job {job}"

    def read(self, source: Source) -> Inventory:
        job = self._job(source)
        try:
            found = parse_job(job, ask(*job_words(job)))
            if found.is_heterogeneous:
                raise LaunchError(
                    f"Slurm job {job} is heterogeneous: orch reaches the nodes of a job of one kind",
                    remedy="ask for the nodes without ':' in the options; or list the nodes in hosts.yaml, "
                    "and name it with -i, if the site allows SSH to them",
                )
            if not found.nodes:
                raise LaunchError(f"Slurm job {job} has no nodes: {_describe(found)}")
            return inventory_of(found, ask(*host_words(found.nodes)).split())
        except LaunchError as error:
            raise InventoryError(f"{source}: {error.message}", remedy=error.remedy) from error

    def _job(self, source: Source) -> str:
        """Return the id of the job. Raises InventoryError if it is none, or orch is not in a job."""
        job = source.given or job_here()
        if job is None:
            raise InventoryError(
                f"{source}: orch does not run in a Slurm job",
                remedy="name one, as in `-i slurm:4711`; squeue --me lists yours",
            )
        try:
            return checked_id(job, may_be_task=True)
        except ValueError as error:
            raise InventoryError(f"{source}: {error}") from error


def inventory_of(job: SlurmJob, names: list[str]) -> Inventory:
    """Return the inventory of a job with nodes of these names, in their order. Raises LaunchError."""
    if not names or len(set(names)) < len(names):
        raise LaunchError(f"scontrol does not say which nodes {job.nodes} are")
    try:
        hosts = tuple(
            Host(name=name, devices=count or "auto")
            for name, count in zip(names, _devices(job, names), strict=True)
        )
    except ValueError as error:
        raise LaunchError(f"not the name of a host in {job.nodes}") from error
    return Inventory(
        hosts=hosts,
        transport=TransportChoice(name="srun", options={"job": job.id}),
        source=f"slurm:{job.id}",
    )


def _devices(job: SlurmJob, names: list[str]) -> list[int]:
    """Return the ranks of each node: one per GPU, else one per task; 0 if Slurm asks for neither."""
    gpus = {name: count for nodes, count in job.gpus for name in expand(nodes)}
    if any(gpus.values()):
        return [gpus.get(name, 0) for name in names]
    tasks = [job.tasks_per_node] * len(names)
    if job.id == job_here() and "SLURM_STEP_ID" not in os.environ:  # those would be of the step
        tasks = parse_tasks(os.environ.get("SLURM_TASKS_PER_NODE", ""), len(names)) or tasks
    return tasks if max(tasks) > 1 else [0] * len(names)


def parse_tasks(text: str, nodes: int) -> list[int] | None:
    """Return the tasks of each node in `2(x3),1`; None if it is not a list for that number of nodes."""
    counts: list[int] = []
    for word in text.split(","):
        match = _TASKS.fullmatch(word)
        if match is None:
            return None
        counts += [int(match[1])] * min(int(match[2] or 1), nodes + 1)
    return counts if len(counts) == nodes else None


def _describe(job: SlurmJob) -> str:
    return f"it is {job.state}" + (f" ({job.reason})" if job.reason else "")


READER = SlurmReader()
