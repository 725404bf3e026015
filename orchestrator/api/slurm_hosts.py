"""Nodes that a launch asks Slurm for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from orchestrator.api.hosts import HostOptions, Note, option_of
from orchestrator.api.values import seconds
from orchestrator.control.interrupts import Interrupts
from orchestrator.errors import LaunchError, UsageError
from orchestrator.inventory import Inventory
from orchestrator.inventory.readers.slurm import inventory_of
from orchestrator.plan import Job
from orchestrator.remote.slurm.transport import DEFAULT_TIMEOUT, SrunTransport
from orchestrator.slurm.allocation import allocate, read_options, release
from orchestrator.slurm.commands import Commands, LocalCommands
from orchestrator.slurm.job import SlurmJob, host_words
from orchestrator.util.text import counted

if TYPE_CHECKING:
    from orchestrator.remote.slurm.login import LoginHost

_CHOICES = {"hosts": "-i", "local": "--local", "transport": "--transport"}


@asynccontextmanager
async def slurm_hosts(
    options: Mapping[str, Any], job: Job, note: Note | None, interrupts: Interrupts | None
) -> AsyncIterator[HostOptions]:
    """Yield the options with the nodes that `--slurm` asks for as hosts; the same ones without it.

    If the context ends with an error before the job runs on them, the nodes are given back; otherwise that
    is the task of the run's controller. `note` gets sentences about the queue. Raises UsageError, and
    LaunchError if Slurm gives no nodes.
    """
    asked, given = options.get("slurm"), cast("HostOptions", options)
    if asked is None:
        if options.get("slurm_login") is not None:
            raise UsageError("--slurm-login goes with --slurm OPTIONS")
        yield given
        return
    for name, option in _CHOICES.items():
        if (value := options.get(name)) is not None:
            named = option_of(value) if name == "hosts" else option
            raise UsageError(f"--slurm and {named} exclude each other")
    words, tell = read_options(asked), note or (lambda text: None)
    timeout = seconds("--connect-timeout", options.get("connect_timeout"), 0.1)
    login = _login(options, timeout)
    commands: Commands = login or LocalCommands()
    interrupts = interrupts or Interrupts()
    try:
        if login is not None:
            for warning in await interrupts.abort(login.log_in()):
                tell(warning)
        allocating = allocate(commands, words, Path(job.script).stem or "run", tell)
        allocation = await interrupts.abort(allocating)
        try:
            inventory = await interrupts.abort(_inventory(commands, allocation))
            nodes = counted(len(inventory.hosts), "node")
            tell(f"Slurm job {allocation.id} has started: {nodes}")
            transport = SrunTransport(
                allocation.id, timeout or DEFAULT_TIMEOUT, release=True, login=login
            )
            yield {**given, "hosts": inventory, "transport": transport}
        except BaseException as error:
            if interrupts.has_started and not isinstance(error, LaunchError):
                raise  # the run continues on its nodes
            try:
                await release(commands, allocation.id)
            except LaunchError as left:
                tell(str(left))
            raise
    finally:
        if login is not None:
            await login.close()


def _login(options: Mapping[str, Any], timeout: float | None) -> LoginHost | None:
    """Return the login host of the options. Raises UsageError."""
    given, accept_new = options.get("slurm_login"), options.get("accept_new", False)
    if given is None:
        if accept_new:
            raise UsageError("--slurm and --accept-new: only --slurm-login has a host key")
        return None
    from orchestrator.remote.slurm.login import LoginHost  # imports an SSH client

    try:
        return LoginHost(given, timeout, accept_new=accept_new)
    except ValueError as error:
        raise UsageError(f"--slurm-login: {error}") from error


async def _inventory(commands: Commands, job: SlurmJob) -> Inventory:
    """Return the nodes of the job, which runs. Raises LaunchError."""
    return inventory_of(job, (await commands.ask(*host_words(job.nodes))).split())
