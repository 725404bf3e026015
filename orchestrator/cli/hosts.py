"""The hosts that a command is for: those of an inventory, or nodes embedded in this machine."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.inventory import Inventory, Main, load, select
from orchestrator.process import end_imports
from orchestrator.remote.ssh import ConnectOptions
from orchestrator.runs.folder import state_folder


@dataclass(frozen=True)
class Choice:
    """The options that say which hosts, and how to connect to them, as typed."""

    inventory: Path | None
    local: int | None
    nodes: str | None
    exclude: str | None
    accept_new: bool
    connect_timeout: float


@asynccontextmanager
async def chosen(
    choice: Choice, workdir_name: str = "any"
) -> AsyncIterator[tuple[Inventory, ConnectOptions]]:
    """Give the hosts, and how to connect to them; embedded nodes live as long as this does.

    `workdir_name` is the folder below which embedded nodes work. Raises UsageError.
    """
    if choice.local is None:
        inventory = load(choice.inventory or _usual_inventory())
        options = ConnectOptions(timeout=choice.connect_timeout, accept_new=choice.accept_new)
        end_imports()
        yield select(inventory, choice.nodes, choice.exclude), options
        return
    if choice.inventory is not None:
        raise UsageError("--local and --inventory exclude each other")
    from orchestrator.node.facts import visible_gpus
    from orchestrator.remote.local import LocalCluster

    end_imports()
    root = embedded_root(workdir_name)
    async with LocalCluster(choice.local, root, visible_gpus()) as cluster:
        inventory = Inventory(hosts=cluster.hosts, main=Main(), source=Path("--local"))
        yield select(inventory, choice.nodes, choice.exclude), cluster.options


def embedded_root(workdir_name: str) -> Path:
    """Return the folder below which embedded nodes work."""
    return state_folder() / "local" / workdir_name


def _usual_inventory() -> Path:
    return Path(os.environ.get("ORCH_INVENTORY") or "hosts.yaml")
