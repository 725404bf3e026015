"""The use case: install what a launch needs on hosts that lack it."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.api.hosts import Note, read_hosts
from orchestrator.errors import UsageError
from orchestrator.inventory import Inventory, select
from orchestrator.util.quoting import line_to_paste

if TYPE_CHECKING:
    from orchestrator.provision.hosts import Hosts

_OVER_SSH = ("ssh", "openssh")
REQUIREMENT = "fabric>=3.2"  # the extra `prepare`


def hosts_to_prepare(
    inventory: str | None,
    nodes: str | None,
    exclude: str | None,
    *,
    torch: str | None,
    index: str | None,
    python: str,
    note: Note | None = None,
) -> tuple[Hosts, Path | str]:
    """Return connections to the chosen hosts, to be closed, and the inventory's source.

    `torch` is a version (None: any), `index` the package index (None: PyPI, or PyTorch's CPU builds for
    hosts without a GPU), `python` the interpreter that creates virtual environments. Raises UsageError,
    also if Fabric is not installed.
    """
    found = select(read_hosts(inventory, note), nodes, exclude)
    _require_ssh(found)
    try:
        from orchestrator.provision.hosts import Hosts
        from orchestrator.provision.steps import Requirements
    except ModuleNotFoundError as error:
        raise UsageError(
            f"orch prepare needs Fabric: no module {error.name}", remedy=_installation()
        ) from None
    return Hosts(found.hosts + found.spares, Requirements(torch, python, index)), found.source


def _require_ssh(inventory: Inventory) -> None:
    """Raise UsageError if the hosts are not reached over SSH."""
    choice = inventory.transport
    if choice is not None and choice.name not in _OVER_SSH:
        raise UsageError(
            f"{choice.place or inventory.source}: orch prepare installs over SSH, not with transport "
            f"{choice.name}",
            remedy="install rsync, Python and torch in the image, or however these nodes are set up",
        )


def _installation() -> str:
    """Return the command that installs Fabric beside orch."""
    pip = [sys.executable, "-m", "pip", "install"]
    if find_spec("pip") is None:  # an environment of uv
        pip = ["uv", "pip", "install", "--python", sys.executable]
    return line_to_paste([*pip, REQUIREMENT])
