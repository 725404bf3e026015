"""Nodes that a launch asks Slurm for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from orchestrator.api.hosts import HostOptions, Note
from orchestrator.control.interrupts import Interrupts
from orchestrator.errors import LaunchError, UsageError
from orchestrator.inventory import TransportChoice, load
from orchestrator.plan import Job
from orchestrator.plan.launchers import registry
from orchestrator.slurm.allocation import allocate, read_options, release
from orchestrator.util.text import counted

_CHOICES = {"hosts": "-i", "local": "--local", "transport": "--transport"}


@asynccontextmanager
async def slurm_hosts(
    options: Mapping[str, Any], job: Job, note: Note | None, interrupts: Interrupts | None
) -> AsyncIterator[HostOptions]:
    """Yield the options with the nodes that `--slurm` asks for as hosts; the same ones without it.

    If the context ends with an error, the nodes are given back; otherwise that is the task of the run's
    controller. `note` gets sentences about the queue. Raises UsageError, and LaunchError if Slurm gives no
    nodes.
    """
    asked, given = options.get("slurm"), cast("HostOptions", options)
    if asked is None:
        yield given
        return
    for name, option in _CHOICES.items():
        if options.get(name) is not None:
            raise UsageError(f"--slurm and {option} exclude each other")
    tell = note or (lambda text: None)
    getting = allocate(read_options(asked), Path(job.script).stem or "run", tell)
    allocation = await (interrupts or Interrupts()).abort(getting)
    try:
        source = f"slurm:{allocation}"
        inventory = load(source, None, registry.names)
        tell(f"Slurm job {allocation} has started: {counted(len(inventory.hosts), 'node')}")
        own = TransportChoice(name="srun", options={"job": allocation, "release": True})
        yield {**given, "hosts": inventory.model_copy(update={"transport": own})}
    except BaseException:
        try:
            await release(allocation)
        except LaunchError as error:
            tell(str(error))
        raise
