"""Read Ansible's inventories: by `ansible-inventory` if it is installed, else by code of our own."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

from orchestrator.errors import InventoryError
from orchestrator.inventory.model import Group, Host, Inventory, Refused
from orchestrator.inventory.readers.ansible.files import (
    MAX_FILES,
    files_of,
    is_dynamic,
    is_script,
    is_static,
    read_files,
)
from orchestrator.inventory.readers.ansible.program import (
    ask_program,
    find_program,
    looks_like_output,
    read_output,
)
from orchestrator.inventory.readers.ansible.settings import Unusable, read_host
from orchestrator.inventory.readers.ansible.templates import Scope
from orchestrator.inventory.readers.ansible.tree import ALL, UNGROUPED, Listing
from orchestrator.inventory.readers.ansible.values import Value, meaning
from orchestrator.inventory.readers.base import Reader, Source, gateway_key_note
from orchestrator.util.text import escaped, first_few, quoted

_NAMES = re.compile(r"[\w.-]*(?:,[\w.-]*)+")
_MOST_EXAMINED = 32  # files of a folder
_KEYS_UNCHECKED = (
    "unknown host keys are refused without --accept-new, also where it accepts any: {hosts}"
)


class AnsibleReader(Reader):
    """Reads INI, YAML and JSON files, folders of them, `a,b,`, and with Ansible what its programs list."""

    name = "ansible"
    help = "an Ansible inventory"

    def recognises(self, source: Source) -> bool:
        path = source.path
        if path is None:
            return _NAMES.fullmatch(source.given) is not None
        if path.is_dir():
            return any(_is_own(Source(str(file))) for file in islice(_files(path), _MOST_EXAMINED))
        return _is_own(source)

    def read(self, source: Source) -> Inventory:
        try:
            return _inventory(source, _list(source))
        except OSError as error:  # of a folder in it
            place = escaped(str(error.filename or source.given))
            raise InventoryError(f"{place}: {error.strerror}") from None


READER = AnsibleReader()


def _files(path: Path) -> list[Path]:
    try:
        return list(islice(files_of(path), _MOST_EXAMINED))
    except OSError:
        return []


def _is_own(source: Source) -> bool:
    path, head = source.path, source.head
    if path is None or path.suffix == ".toml":
        return False
    return is_static(source) or is_dynamic(path, head) or looks_like_output(head)


def _list(source: Source) -> Listing:
    """Return the hosts, groups and variables of `source`. Raises InventoryError."""
    path = source.path
    if path is None:
        return _list_names(source)
    if path.is_file() and looks_like_output(source.head):
        return read_output(source.content, str(source))
    is_regular = path.is_dir() or path.is_file()
    files = list(islice(files_of(path), MAX_FILES + 1)) if is_regular else []
    heads = {file: Source(str(file)).head for file in files}
    program = find_program() if files else None
    if scripts := [file for file, head in heads.items() if is_script(file, head)]:
        _require_named(source, scripts[0])
    is_listed_by_ansible = any(is_dynamic(file, head) for file, head in heads.items())
    if program is not None and is_listed_by_ansible:
        return ask_program(program, source.given, str(source), static=False)
    try:
        own: Listing | InventoryError = read_files(source)
    except InventoryError as error:
        own = error
    if program is None:
        if isinstance(own, InventoryError):
            raise own
        return own
    try:
        asked = ask_program(program, source.given, str(source), static=True)
    except InventoryError:
        if isinstance(own, InventoryError):
            raise own from None  # it has the lines
        raise
    return asked if isinstance(own, InventoryError) else _with_places(asked, own)


def _require_named(source: Source, script: Path) -> None:
    """Raise InventoryError unless the user said that this is Ansible's: Ansible will run it."""
    if not source.is_named:
        raise InventoryError(
            f"{escaped(str(script))}: this is a program, and orch runs none that it only came across",
            remedy=f"-i ansible:{escaped(source.given)} lets Ansible run it, and list its hosts",
        )


def _list_names(source: Source) -> Listing:
    """Return the hosts of `a,b,`, as for Ansible's -i. Raises InventoryError if it is no such list."""
    if "," not in source.given:
        _ = source.content  # raises: there is no such file
    hosts = dict.fromkeys(name for each in source.given.split(",") if (name := each.strip()))
    return Listing({name: {} for name in hosts}, {ALL: list(hosts), UNGROUPED: list(hosts)})


def _with_places(asked: Listing, own: Listing) -> Listing:
    """Return what Ansible lists in the order of the files, with the places and the spelling there."""
    if own.hosts.keys() != asked.hosts.keys():
        return asked
    hosts = {}
    for host, ours in own.hosts.items():
        theirs = asked.hosts[host]
        hosts[host] = {key: _placed(value, ours.get(key)) for key, value in theirs.items()}
    order = {host: position for position, host in enumerate(hosts)}
    groups = {
        name: sorted(members, key=order.__getitem__) for name, members in asked.groups.items()
    }
    return Listing(hosts, groups)


def _placed(asked: Value, own: Value | None) -> Value:
    if own is None:
        return asked
    try:
        is_same = str(meaning(own.given)) == str(asked.given)
    except ValueError:
        return asked
    return own if is_same else Value(asked.given, own.place)


def _inventory(source: Source, listing: Listing) -> Inventory:
    if not listing.hosts:
        raise InventoryError(f"{source}: no host in it")
    folder = _folder(source)
    hosts: list[Host] = []
    refused: list[Refused] = []
    names: dict[str, str] = {}  # of Ansible -> of orch
    unchecked: list[str] = []
    keys: dict[str, None] = {}
    for position, (name, variables) in enumerate(listing.hosts.items()):
        scope = Scope(name, str(folder), variables)
        try:
            host, accepts_any_key, gateway_key = read_host(
                name, scope, folder, str(source), position
            )
        except Unusable as error:
            refused.append(Refused(name=name, reason="\n".join(error.args)))
            names[name] = name
            continue
        names[name] = host.name
        hosts.append(host)
        if accepts_any_key:
            unchecked.append(host.name)
        if gateway_key is not None:
            keys[gateway_key] = None
    _require_distinct(source, list(names.values()))
    source.notes += [gateway_key_note(key) for key in keys]
    if unchecked:
        source.notes.append(_KEYS_UNCHECKED.format(hosts=first_few(unchecked)))
    return Inventory(
        hosts=tuple(host for host in hosts if not host.spare),
        spares=tuple(host for host in hosts if host.spare),
        refused=tuple(refused),
        groups=tuple(
            Group(name=name, hosts=tuple(names[host] for host in members))
            for name, members in listing.groups.items()
            if members
        ),
        source=source.given if source.path is None else source.path,
    )


def _folder(source: Source) -> Path:
    """Return the folder in which relative paths start."""
    if source.path is None:
        return Path.cwd()
    path = source.path.absolute()
    return path if path.is_dir() else path.parent


def _require_distinct(source: Source, names: list[str]) -> None:
    found: dict[str, str] = {}
    for name in names:
        before = found.setdefault(name.casefold(), name)
        if before is not name:
            raise InventoryError(
                f"{source}: the hosts {quoted(before)} and {quoted(name)} have one name"
            )
