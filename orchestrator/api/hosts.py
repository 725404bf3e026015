"""The hosts that a command acts on: those of an inventory, or embedded nodes on this machine."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypedDict

from orchestrator.api.values import Time, number, seconds
from orchestrator.errors import InventoryError, UsageError
from orchestrator.inventory import Inventory, Main, TransportChoice, load, select
from orchestrator.inventory.ranges import fold
from orchestrator.inventory.readers.orch_yaml import parse
from orchestrator.inventory.readers.registry import job_here
from orchestrator.inventory.values import text
from orchestrator.node import trust
from orchestrator.plan.launchers import registry
from orchestrator.plan.masking import mask_in_logs
from orchestrator.remote.base import Transport
from orchestrator.remote.transports import DEFAULT, create
from orchestrator.runs.folder import ensure_private_folder, state_folder
from orchestrator.util.process import resume_gc
from orchestrator.util.quoting import line_to_paste
from orchestrator.util.text import counted, escaped, printable, quoted

DEFAULT_FILE = "hosts.yaml"
ANY = "any"
"""The parent of the working folders of embedded nodes that belong to no project."""
Hosts = str | PathLike[str] | Sequence[str] | Inventory
"""An inventory file, hosts as ssh takes them, or an inventory."""
_RUNS_PROGRAM = "command"
"""The transport whose options name a program."""
HowToReach = str | Mapping[str, Mapping[str, Any]]
"""The name of a transport, or a mapping of one name to its options, as in an inventory."""
Note = Callable[[str], None]
"""Gets the format in which an inventory was read if it is not orch's own."""


@dataclass(frozen=True)
class DefaultInventory(PathLike[str]):
    """An inventory that a file of defaults names, at `place`: it may run no program on this machine."""

    path: str
    place: str

    def __fspath__(self) -> str:
        return self.path


class HostOptions(TypedDict, total=False):
    """Which hosts, and how to reach them."""

    hosts: Hosts | None
    local: int | None
    nodes: str | None
    exclude: str | None
    python: str | None
    accept_new: bool
    connect_timeout: Time
    transport: HowToReach | Transport | None


@asynccontextmanager
async def open_hosts(
    options: HostOptions,
    *,
    local_name: str = ANY,
    include: str | None = None,
    note: Note | None = None,
) -> AsyncIterator[tuple[Inventory, Transport]]:
    """Yield the hosts that the options select, and a transport to them, open within the context.

    `include` selects hosts and GPUs as --include does; `python` is that of all hosts. A transport in the
    options, or the name of one, is used instead of the inventory's. `local_name` is the parent of the
    working folders of embedded nodes. Raises UsageError, and LaunchError if other users may write to the
    folders of embedded nodes.
    """
    hosts, given = options.get("hosts"), options.get("transport")
    nodes, exclude = options.get("nodes"), options.get("exclude")
    local = number("--local", options.get("local"), 1, 64)
    if local is None:
        inventory = _with_python(read_hosts(hosts, note), options.get("python"))
        if isinstance(given, Transport):
            transport = given
        else:
            transport = _transport(_choose(given, inventory), inventory.source, options)
        for host in (*inventory.hosts, *inventory.spares):
            mask_in_logs(host.env)
        resume_gc()
        async with transport:
            yield select(inventory, nodes, exclude, include), transport
        return
    if hosts is not None:
        raise UsageError(f"--local and {option_of(hosts)} exclude each other")
    if given is not None:
        raise UsageError("--local and --transport exclude each other")
    from orchestrator.node.facts import visible_gpus
    from orchestrator.remote.embedded.transport import EmbeddedTransport

    resume_gc()
    root = state_folder() / "local" / local_name
    with suppress(OSError):  # the cluster reports why its folders cannot be created
        ensure_private_folder(root)
    async with EmbeddedTransport(local, root, gpus=visible_gpus()) as cluster:
        inventory = Inventory(hosts=cluster.hosts, main=Main(), source="--local")
        inventory = _with_python(inventory, options.get("python"))
        yield select(inventory, nodes, exclude, include), cluster


def _with_python(inventory: Inventory, python: str | None) -> Inventory:
    """Return the inventory with this Python on all its hosts; None: with their own. Raises UsageError."""
    if python is None:
        return inventory
    try:
        path = text(python)
    except ValueError as error:
        raise UsageError(f"--python: {error}; found {quoted(python)}") from None
    hosts, spares = (
        tuple(host.model_copy(update={"python": path}) for host in group)
        for group in (inventory.hosts, inventory.spares)
    )
    return inventory.model_copy(update={"hosts": hosts, "spares": spares})


def option_of(hosts: Hosts) -> str:
    """Return the option of a command that names these hosts."""
    return "-H" if isinstance(hosts, str) and hosts.startswith("hosts:") else "-i"


def _choose(given: HowToReach | None, inventory: Inventory) -> TransportChoice:
    """Return the given transport, otherwise the inventory's; a name alone has the inventory's options."""
    own = inventory.transport
    if given is None:
        return own or TransportChoice(name=DEFAULT)
    if isinstance(given, str):
        return own if own is not None and own.name == given else TransportChoice(name=given)
    if len(given) != 1:
        raise UsageError("transport: expected a name, or a mapping of one name to its options")
    ((name, settings),) = given.items()
    return TransportChoice(name=name, options=settings)


def _transport(choice: TransportChoice, source: Path | str, options: HostOptions) -> Transport:
    """Return the transport with its options and those of the command. Raises UsageError."""
    if isinstance(named := options.get("hosts"), DefaultInventory) and choice.place:
        _require_harmless(choice, named)
    try:
        transport = create(choice.name, **choice.options)
    except UsageError as error:
        if not choice.place:
            raise
        raise InventoryError(f"{choice.place}: {error.message}", remedy=error.remedy) from error
    if choice.name == _RUNS_PROGRAM and choice.place and isinstance(source, Path):
        _require_own(source)
    own: dict[str, Any] = {}
    if (timeout := options.get("connect_timeout")) is not None:
        own["timeout"] = seconds("--connect-timeout", timeout, 0.1)
    if options.get("accept_new"):
        own["accept_new"] = True
    return create(choice.name, **{**choice.options, **own}) if own else transport


def _require_harmless(choice: TransportChoice, inventory: DefaultInventory) -> None:
    """Raise InventoryError if the inventory decides what this machine runs or which keys it trusts."""
    if choice.name == _RUNS_PROGRAM or "accept_new" in choice.options:
        what = (
            "runs a program on this machine" if choice.name == _RUNS_PROGRAM else "trusts host keys"
        )
        raise _not_yours(f"{choice.place}: this transport {what}", inventory)


def _require_no_keys(inventory: Inventory, named: DefaultInventory) -> None:
    """Raise InventoryError if the inventory decides which keys of hosts this machine trusts."""
    for host in (*inventory.hosts, *inventory.spares):
        if host.known_hosts is not None:
            raise _not_yours(
                f"{escaped(named.path)}: {host.name}: known_hosts trusts host keys", named
            )


def _not_yours(what: str, inventory: DefaultInventory) -> InventoryError:
    return InventoryError(
        f"{what}, and {inventory.place} names the inventory, not you",
        remedy=f"read it, then name it yourself: {line_to_paste(['-i', inventory.path])}",
    )


def _require_own(source: Path) -> None:
    """Raise InventoryError if another user may have written which program to run on this machine."""
    try:
        if source.is_file():
            trust.require_own(str(source), source.stat())
    except trust.Untrusted as error:
        raise InventoryError(
            f"{escaped(str(source))}: its transport runs a program on this machine, and the file "
            f"{printable(error.why)}",
            remedy=printable(error.remedy, 1000),
        ) from None
    except OSError as error:
        raise InventoryError(f"{escaped(str(source))}: {error.strerror}") from error


def read_hosts(hosts: Hosts | None, note: Note | None = None) -> Inventory:
    """Return the named hosts; None: those of the default inventory. Raises InventoryError."""
    if isinstance(hosts, Inventory):
        return hosts
    if not hosts and not os.environ.get("ORCH_INVENTORY") and (here := job_here()) is not None:
        reader, job = here
        inventory = load(f"{reader}:", None, registry.names)
        if note is not None:
            note(_describe_allocation(job, inventory))
        return inventory
    if hosts is None or isinstance(hosts, str):
        return load(hosts or default_inventory(), note, registry.names)
    if isinstance(hosts, PathLike):
        default = hosts if isinstance(hosts, DefaultInventory) else None
        inventory = load(Path(hosts), note, registry.names, only_data=default is not None)
        if default is not None:
            _require_no_keys(inventory, default)
        return inventory
    return parse(json.dumps({"hosts": list(hosts)}), Path("hosts"), registry.names)


def _describe_allocation(job: str, inventory: Inventory) -> str:
    """Return what to say when the hosts are those of the scheduler's job that orch runs in."""
    nodes = counted(len(inventory.hosts), "node")
    said = f"in {job}: {nodes}, {fold(host.name for host in inventory.hosts)}"
    if not Path(DEFAULT_FILE).exists():
        return said
    return f"{said}; -i {DEFAULT_FILE} for the hosts in that file"


def default_inventory() -> str:
    """Return the default inventory: ORCH_INVENTORY, else the job that orch runs in, else hosts.yaml."""
    if given := os.environ.get("ORCH_INVENTORY"):
        return given
    here = job_here()
    return DEFAULT_FILE if here is None else f"{here[0]}:"
