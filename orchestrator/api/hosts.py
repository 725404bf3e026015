"""The hosts that a command acts on: those of an inventory, or embedded nodes on this machine."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import TypedDict

from orchestrator.api.values import Time, number, seconds
from orchestrator.errors import UsageError
from orchestrator.inventory import Inventory, Main, load, select
from orchestrator.inventory.readers.orch_yaml import parse
from orchestrator.plan.launchers import registry
from orchestrator.plan.masking import mask_in_logs
from orchestrator.remote.base import Transport
from orchestrator.remote.transports import DEFAULT, create
from orchestrator.runs.folder import ensure_private_folder, state_folder
from orchestrator.util.process import resume_gc

ANY = "any"
"""The parent of the working folders of embedded nodes that belong to no project."""
Hosts = str | PathLike[str] | Sequence[str] | Inventory
"""An inventory file, hosts as ssh takes them, or an inventory."""
Note = Callable[[str], None]
"""Gets the format in which an inventory was read if it is not orch's own."""


class HostOptions(TypedDict, total=False):
    """Which hosts, and how to reach them."""

    hosts: Hosts | None
    local: int | None
    nodes: str | None
    exclude: str | None
    accept_new: bool
    connect_timeout: Time
    transport: str


@asynccontextmanager
async def open_hosts(
    options: HostOptions, *, local_name: str = ANY, note: Note | None = None
) -> AsyncIterator[tuple[Inventory, Transport]]:
    """Yield the hosts that the options select, and a transport to them, open within the context.

    `local_name` is the parent of the working folders of embedded nodes. Raises UsageError, and
    LaunchError if other users may write to the folders of embedded nodes.
    """
    hosts, name = options.get("hosts"), options.get("transport", DEFAULT)
    nodes, exclude = options.get("nodes"), options.get("exclude")
    local = number("--local", options.get("local"), 1, 64)
    if local is None:
        inventory = read_hosts(hosts, note)
        timeout = seconds("--connect-timeout", options.get("connect_timeout", 10.0), 0.1)
        own = {"accept_new": True} if options.get("accept_new") else {}
        transport = create(name, timeout=timeout, **own)
        for host in (*inventory.hosts, *inventory.spares):
            mask_in_logs(host.env)
        resume_gc()
        async with transport:
            yield select(inventory, nodes, exclude), transport
        return
    if hosts is not None:
        raise UsageError("--local and --inventory exclude each other")
    if name != DEFAULT:
        raise UsageError("--local and --transport exclude each other")
    from orchestrator.node.facts import visible_gpus
    from orchestrator.remote.embedded.transport import EmbeddedTransport

    resume_gc()
    root = state_folder() / "local" / local_name
    with suppress(OSError):  # the cluster reports why its folders cannot be created
        ensure_private_folder(root)
    async with EmbeddedTransport(local, root, gpus=visible_gpus()) as cluster:
        inventory = Inventory(hosts=cluster.hosts, main=Main(), source="--local")
        yield select(inventory, nodes, exclude), cluster


def read_hosts(hosts: Hosts | None, note: Note | None = None) -> Inventory:
    """Return the named hosts; None: those of the default inventory. Raises InventoryError."""
    if isinstance(hosts, Inventory):
        return hosts
    if hosts is None or isinstance(hosts, str):
        return load(hosts or default_inventory(), note, registry.names)
    if isinstance(hosts, PathLike):
        return load(Path(hosts), note, registry.names)
    return parse(json.dumps({"hosts": list(hosts)}), Path("hosts"), registry.names)


def default_inventory() -> str:
    """Return the default inventory."""
    return os.environ.get("ORCH_INVENTORY") or "hosts.yaml"
