"""The formats there are, and an inventory read in the one that suits its source."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

from orchestrator.errors import InventoryError
from orchestrator.inventory.model import Inventory
from orchestrator.inventory.problems import quoted
from orchestrator.inventory.readers.base import Reader, Source
from orchestrator.util.log import logger
from orchestrator.util.plugins import Plugins, load_plugins
from orchestrator.util.text import printable

GROUP = "orch.inventories"
DEFAULT = "orch"
# Name -> the module that has it as `READER`, in the order in which they are asked.
_BUILT_IN = {DEFAULT: "orchestrator.inventory.readers.orch_yaml"}

_NAME = re.compile(r"([a-z][a-z0-9_-]+):(.*)", re.DOTALL)  # two letters at least: C: is a drive


log = logger("inventory")


def load(
    given: str | Path,
    note: Callable[[str], None] | None = None,
    launchers: Callable[[], Collection[str]] | None = None,
) -> Inventory:
    """Return the inventory in `given`: a file, or as text `[NAME:]SOURCE`, NAME being that of a reader.

    A source without the name of a reader is read by the first that recognises it, else as orch's YAML.
    `note` is told, a sentence at a time, which plug-in is left out, and what the source is taken for if
    that is another format; `launchers` gives the names that a launcher may have (None: any). Raises
    InventoryError when it cannot be read, or with all that is wrong in it.
    """
    say = note or (lambda text: None)
    notes: dict[str, None] = {}
    try:
        named = _named(given, notes, launchers) if isinstance(given, str) else None
        reader, source = named or _recognising(Source(str(given), launchers=launchers), notes)
    finally:
        for text in notes:
            say(text)
    if reader.name != DEFAULT:
        say(f"{source}: read as {reader.help}")
    if reader.name in _BUILT_IN:
        inventory = reader.read(source)
    else:
        inventory = _checked(_read(reader, source), reader, source)
    log.info("%s: %d hosts, %d spares", source, len(inventory.hosts), len(inventory.spares))
    return inventory


def _readers(notes: dict[str, None]) -> Iterator[Reader]:
    """Yield orch's own readers, then those of installed packages; nothing is imported before its turn."""
    yield from map(_built_in, _BUILT_IN)
    plugins = _plugins()
    notes.update((f"inventory format {broken}", None) for broken in plugins.broken)
    yield from plugins.found.values()


@cache
def _plugins() -> Plugins[Reader]:
    return load_plugins(GROUP, Reader, taken=_BUILT_IN)  # type: ignore[type-abstract]


def _built_in(name: str) -> Reader:
    reader: Reader = import_module(_BUILT_IN[name]).READER
    return reader


def _named(
    given: str, notes: dict[str, None], launchers: Callable[[], Collection[str]] | None
) -> tuple[Reader, Source] | None:
    """Return the reader that `given` names, and the source after it.

    None where it names none, and a file has that name as a whole, or there is no reader's name in it:
    `C:\\hosts.yaml`. Raises InventoryError for what can be neither.
    """
    found = _NAME.fullmatch(given)
    if found is None:
        return None
    name, rest = found.groups()
    for reader in _readers(notes):
        if reader.name == name:
            return reader, Source(rest, given, launchers)
    source = Source(given)
    if source.path is not None:
        return None
    if (broken := _plugins().why_not(name)) is not None:
        raise InventoryError(f"{source}: inventory format {broken}", remedy="repair that package")
    there_are = ", ".join(reader.name for reader in _readers(notes))
    raise InventoryError(
        f"{source}: there is no such inventory, and no format {name!r} to read one in",
        remedy=f"name a file; the formats are {there_are}",
    )


def _recognising(source: Source, notes: dict[str, None]) -> tuple[Reader, Source]:
    for reader in _readers(notes):
        try:
            if reader.recognises(source):
                return reader, source
        except Exception as error:  # whatever the code of a stranger raises
            if reader.name in _BUILT_IN:
                raise
            notes[f"inventory format {reader.name!r} is left out: {_shown(error)}"] = None
    return _built_in(DEFAULT), source


def _read(reader: Reader, source: Source) -> Inventory:
    try:
        return reader.read(source)
    except InventoryError:
        raise
    except Exception as error:  # whatever the code of a stranger raises
        raise InventoryError(
            f"{source}: cannot be read as {reader.help}: {_shown(error)}",
            remedy=f"that is a fault of the plug-in {reader.name!r}, not of the source",
        ) from error


def _shown(error: Exception) -> str:
    return printable(f"{type(error).__name__}: {error}", 300)


def _checked(inventory: Inventory, reader: Reader, source: Source) -> Inventory:
    """Return `inventory` if it has what every use of one relies on. Raises InventoryError."""
    fault = None
    if not isinstance(inventory, Inventory):
        fault = f"no Inventory, but of type {type(inventory).__name__}"
    elif not inventory.hosts:
        fault = "no host in it"
    else:
        names: set[str] = set()
        for host in (*inventory.hosts, *inventory.spares):
            if host.name.casefold() in names:
                fault = f"duplicate name {quoted(host.name)}"
            names.add(host.name.casefold())
    if fault is not None:
        raise InventoryError(f"{source}: read as {reader.help}: {fault}")
    return inventory
