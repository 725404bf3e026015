"""The hosts that a command is for: those of an inventory, or nodes embedded in this machine."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.inventory import Inventory, Main, load, select
from orchestrator.inventory.readers.orch_yaml import parse
from orchestrator.plan.launchers import registry
from orchestrator.plan.masking import mask_in_logs
from orchestrator.remote.base import Transport
from orchestrator.remote.transports import DEFAULT, create
from orchestrator.runs.folder import ensure_private_folder, state_folder
from orchestrator.util.process import resume_gc

Hosts = str | PathLike[str] | Sequence[str] | Inventory
"""An inventory file, hosts as ssh takes them, or an inventory."""


@dataclass(frozen=True)
class Choice:
    """The options that say which hosts, and how to connect to them, as typed."""

    inventory: Hosts | None
    local: int | None
    nodes: str | None
    exclude: str | None
    accept_new: bool
    connect_timeout: float
    transport: str = DEFAULT
    note: Callable[[str], None] | None = None
    """Told what the inventory was taken for, if that is not orch's own format."""


@asynccontextmanager
async def chosen(
    choice: Choice, local_name: str = "any"
) -> AsyncIterator[tuple[Inventory, Transport]]:
    """Give the hosts, and the transport to them, which is open as long as this is.

    `local_name` is the folder below which embedded nodes work. Raises UsageError,
    and LaunchError where somebody else may write to their folders.
    """
    if choice.local is None:
        inventory = read_hosts(choice.inventory, choice.note)
        own = {"accept_new": True} if choice.accept_new else {}
        transport = create(choice.transport, timeout=choice.connect_timeout, **own)
        for host in (*inventory.hosts, *inventory.spares):
            mask_in_logs(host.env)
        resume_gc()
        async with transport:
            yield select(inventory, choice.nodes, choice.exclude), transport
        return
    if choice.inventory is not None:
        raise UsageError("--local and --inventory exclude each other")
    if choice.transport != DEFAULT:
        raise UsageError("--local and --transport exclude each other")
    from orchestrator.node.facts import visible_gpus
    from orchestrator.remote.embedded.transport import EmbeddedTransport

    resume_gc()
    root = state_folder() / "local" / local_name
    with suppress(OSError):  # the cluster says why its folders cannot be made
        ensure_private_folder(root)
    async with EmbeddedTransport(choice.local, root, gpus=visible_gpus()) as cluster:
        inventory = Inventory(hosts=cluster.hosts, main=Main(), source="--local")
        yield select(inventory, choice.nodes, choice.exclude), cluster


def read_hosts(hosts: Hosts | None, note: Callable[[str], None] | None = None) -> Inventory:
    """Return the hosts that are named: by `-i`, or by a program; None: those of the usual inventory.

    `note` is told what a source was taken for, if that is not orch's own format. Raises InventoryError.
    """
    if isinstance(hosts, Inventory):
        return hosts
    if hosts is None or isinstance(hosts, str):
        return load(hosts or usual_inventory(), note, registry.names)
    if isinstance(hosts, PathLike):
        return load(Path(hosts), note, registry.names)
    return parse(json.dumps({"hosts": list(hosts)}), Path("hosts"), registry.names)


def usual_inventory() -> str:
    """Return the inventory that is meant where none is named."""
    return os.environ.get("ORCH_INVENTORY") or "hosts.yaml"
