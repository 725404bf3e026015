"""Find the reader of an inventory's format, and read the inventory with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

from orchestrator.errors import InventoryError
from orchestrator.inventory.model import Inventory
from orchestrator.inventory.readers.base import Launchers, Reader, Source
from orchestrator.util.log import logger
from orchestrator.util.plugins import Plugins, load_plugins
from orchestrator.util.quoting import line_to_paste
from orchestrator.util.text import printable, quoted

GROUP = "orch.inventories"
DEFAULT = "orch"
# Name -> the module with the reader as `READER`, in the order in which they are tried.
_BUILT_IN = {
    DEFAULT: "orchestrator.inventory.readers.orch_yaml",
    "slurm": "orchestrator.inventory.readers.slurm",
    "clush": "orchestrator.inventory.readers.clush",
    "ssh_config": "orchestrator.inventory.readers.ssh_config",
    "accelerate-config": "orchestrator.inventory.readers.accelerate",
    "dstack": "orchestrator.inventory.readers.dstack",
    "sky": "orchestrator.inventory.readers.sky",
    "ansible": "orchestrator.inventory.readers.ansible.reader",
    "pbs": "orchestrator.inventory.readers.pbs",
    "lsf": "orchestrator.inventory.readers.lsf",
    "sge": "orchestrator.inventory.readers.sge",
    "hosts": "orchestrator.inventory.readers.hosts",
    "hostfile": "orchestrator.inventory.readers.hostfile",
}
_LAST = "hostfile"  # to which any list of names is one
_SCHEDULERS = ("slurm", "pbs", "lsf", "sge")

_NAME = re.compile(r"([a-z][a-z0-9_-]+):(.*)", re.DOTALL)  # two letters at least: C: is a drive

log = logger("inventory")


def load(
    given: str | Path,
    note: Callable[[str], None] | None = None,
    launchers: Launchers = None,
    *,
    only_data: bool = False,
) -> Inventory:
    """Return the inventory in `given`: a file, or as text `[NAME:]SOURCE`, NAME being that of a reader.

    A source without a reader's name is read by the first reader that recognises it, else as orch's YAML.
    `note` is called with a sentence for each plug-in that is left out, and with the format if it is not
    orch's. `launchers` returns the valid names of launchers. Raises InventoryError if the source cannot be
    read, with everything that is wrong in it, and with `only_data` if its reader may run programs.
    """
    report = note or (lambda text: None)
    notes: dict[str, None] = {}
    try:
        named = _named(given, notes, launchers) if isinstance(given, str) else None
        reader, source = named or _recognise(Source(str(given), launchers=launchers), notes)
        if only_data and not reader.is_data_only:
            raise InventoryError(
                f"{source}: to read {reader.help} may run programs on this machine",
                remedy=f"if you trust it, name it yourself: {line_to_paste(['-i', str(given)])}",
            )
    finally:
        for text in notes:
            report(text)
    if said := _describe(reader, source):
        report(f"{source}: read as {said}")
    inventory = reader.read(source) if reader.name in _BUILT_IN else _read_plugin(reader, source)
    for text in source.notes:
        report(f"{source}: {text}")
    log.info("%s: %d hosts, %d spares", source, len(inventory.hosts), len(inventory.spares))
    return inventory


def job_here() -> tuple[str, str] | None:
    """Return the name of the reader of the job that orch runs in, and what the job is called."""
    jobs = ((name, _built_in(name).job()) for name in _SCHEDULERS)
    return next(((name, job) for name, job in jobs if job is not None), None)


def _readers(notes: dict[str, None]) -> Iterator[Reader]:
    """Yield orch's own readers, those of plug-ins, and the last; each is imported when its turn comes."""
    yield from (_built_in(name) for name in _BUILT_IN if name != _LAST)
    plugins = _plugins()
    notes.update((f"inventory format {broken}", None) for broken in plugins.broken)
    yield from plugins.found.values()
    yield _built_in(_LAST)


@cache
def _plugins() -> Plugins[Reader]:
    return load_plugins(GROUP, Reader, taken=_BUILT_IN)  # type: ignore[type-abstract]


def _built_in(name: str) -> Reader:
    reader: Reader = import_module(_BUILT_IN[name]).READER
    return reader


def _named(
    given: str, notes: dict[str, None], launchers: Launchers
) -> tuple[Reader, Source] | None:
    """Return the reader that `given` names, and the source after the name.

    None if it names no reader, as `C:\\hosts.yaml`, or is the name of a file. Raises InventoryError if it
    is neither.
    """
    found = _NAME.fullmatch(given)
    if found is None:
        return None
    name, rest = found.groups()
    if name in _BUILT_IN:
        return _built_in(name), Source(rest, given, launchers)
    for reader in _readers(notes):
        if reader.name == name:
            return reader, Source(rest, given, launchers)
    source = Source(given)
    if source.path is not None:
        return None
    if (broken := _plugins().find_broken(name)) is not None:
        raise InventoryError(f"{source}: inventory format {broken}", remedy="repair that package")
    formats = ", ".join(reader.name for reader in _readers(notes))
    raise InventoryError(
        f"{source}: there is no such inventory, and no format {name!r} to read one in",
        remedy=f"name a file; the formats are {formats}",
    )


def _recognise(source: Source, notes: dict[str, None]) -> tuple[Reader, Source]:
    for reader in _readers(notes):
        try:
            if reader.recognises(source):
                return reader, source
        except Exception as error:  # foreign code may raise anything
            if reader.name in _BUILT_IN:
                raise
            notes[f"inventory format {reader.name!r} is left out: {_error_text(error)}"] = None
    return _built_in(DEFAULT), source


def _read_plugin(reader: Reader, source: Source) -> Inventory:
    """Return the inventory that a plug-in reads. Raises InventoryError if orch cannot use it."""
    try:
        inventory = reader.read(source)
    except InventoryError:
        raise
    except Exception as error:  # foreign code may raise anything
        raise InventoryError(
            f"{source}: cannot be read as {reader.help}: {_error_text(error)}",
            remedy=f"this is a bug of the plug-in {reader.name!r}, not a fault of the source",
        ) from error
    if fault := _fault(inventory):
        raise InventoryError(f"{source}: read as {reader.help}: {fault}")
    return inventory


def _fault(inventory: object) -> str | None:
    if not isinstance(inventory, Inventory):
        return f"no Inventory, but of type {type(inventory).__name__}"
    if not inventory.hosts:
        return "no host in it"
    names: set[str] = set()
    for host in (*inventory.hosts, *inventory.spares):
        if host.name.casefold() in names:
            return f"duplicate name {quoted(host.name)}"
        names.add(host.name.casefold())
    return None


def _describe(reader: Reader, source: Source) -> str:
    """Return what a source is read as; nothing if that goes without saying."""
    if reader.name == DEFAULT:
        return ""
    try:
        return reader.describe(source)
    except Exception as error:  # foreign code may raise anything
        if reader.name in _BUILT_IN or isinstance(error, InventoryError):
            raise
        return reader.help


def _error_text(error: Exception) -> str:
    return printable(f"{type(error).__name__}: {error}", 300)
