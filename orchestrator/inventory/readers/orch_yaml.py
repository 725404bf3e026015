"""orch's own inventories, in YAML: the typed value, or all of the faults in one go.

A fault in one place never hides another: what cannot be read is noted and left out, and reading
goes on. Only when nothing was noted is there an Inventory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from orchestrator.inventory import values
from orchestrator.inventory.environment import Environment
from orchestrator.inventory.hints import about_host, about_hosts, about_key
from orchestrator.inventory.model import Host, HostSettings, Inventory, Main, Settings
from orchestrator.inventory.problems import Problems, TooMany, meant_by, nearest, quoted
from orchestrator.inventory.ranges import MOST_HOSTS, expand, words_of
from orchestrator.inventory.readers.base import Reader, Source
from orchestrator.inventory.tables import Entries, Entry, Tables, shown
from orchestrator.inventory.words import HostWord
from orchestrator.inventory.yaml_nodes import NotYaml, compose, is_null, place, scalar

_TOP = ("defaults", "main", "hosts")
_MAIN = tuple(Main.model_fields)
_SETTINGS = tuple(Settings.model_fields)
_HOST = ("name", "address", *HostSettings.model_fields)
_OWN_KEY = re.compile(rb"""^[{\s]*["']?(defaults|main|hosts)["']?\s*:""", re.MULTILINE)


class OrchYaml(Reader):
    """The format that has every key of a host."""

    name = "orch"
    help = "an inventory of orch's"

    def recognises(self, source: Source) -> bool:
        return _OWN_KEY.search(source.head) is not None

    def read(self, source: Source) -> Inventory:
        return parse(source.text, Path(source.given), source.launchers)


READER = OrchYaml()


def parse(
    text: str, source: Path, launchers: Callable[[], Collection[str]] | None = None
) -> Inventory:
    """Return the inventory in `text`, which was read from `source`.

    Relative paths are taken from the folder of `source`. `launchers` gives the names that a launcher may
    have (None: any), if the text names one. Raises InventoryError, whose `problems` has every fault with
    its place.
    """
    problems = Problems(source)
    try:
        inventory = _Document(source, problems, launchers).inventory(compose(text, problems))
    except (NotYaml, TooMany):
        raise problems.error() from None
    if problems:
        raise problems.error()
    return inventory


def _is_misspelt(root: MappingNode, key: str) -> bool:
    """Tell whether one of the unknown keys has been noted as most likely meaning `key`."""
    return any(meant_by(each, _TOP) == key for each in _keys(root) if each not in _TOP)


def _keys(table: MappingNode) -> list[str]:
    return [key.value for key, _ in table.value if isinstance(key, ScalarNode)]


class _Spot(NamedTuple):
    """A node, and the keys under which it is found."""

    node: Node
    path: str


class _Document:
    """Walks the tree once, notes what is wrong with it, and gathers the rest."""

    def __init__(
        self,
        source: Path,
        problems: Problems,
        launchers: Callable[[], Collection[str]] | None,
    ) -> None:
        self._source = source
        self._problems = problems
        self._launchers = launchers
        self._tables = Tables(problems)
        self._hosts: list[Host] = []
        self._duplicates = _Duplicates(self._tables)

    def inventory(self, root: Node | None) -> Inventory:
        """Return what could be read of it; complete only if no problem was noted."""
        top: Entries = {}
        if root is None or is_null(root):
            line, column = (1, 1) if root is None else place(root)
            message = "the file is empty; expected at least a list 'hosts'"
            self._problems.add(line, column, "", message)
        elif isinstance(root, ScalarNode) and (like := about_hosts(root.value)):
            message = f"expected the key hosts; found {shown(root)}; write hosts: {like}"
            self._tables.note(root, "", message)
        else:
            top = self._tables.read(root, "", _TOP)
            if (
                isinstance(root, MappingNode)
                and "hosts" not in top
                and not _is_misspelt(root, "hosts")
            ):
                self._tables.note(root, "hosts", "missing; expected a list of hosts")
        main = self._section(Main, self._mapping(top, "main", _MAIN), "main")
        defaults = self._section(Settings, self._mapping(top, "defaults", _SETTINGS), "defaults")
        if "hosts" in top:
            self._read_hosts(top["hosts"].value, defaults)
        hosts = tuple(host for host in self._hosts if not host.spare)
        spares = tuple(host for host in self._hosts if host.spare)
        if spares and not hosts:
            message = "expected a host that is no spare; all of them are"
            self._tables.note(top["hosts"].value, "hosts", message)
        return Inventory(hosts=hosts, spares=spares, main=Main(**main), source=self._source)

    def _mapping(self, entries: Entries, key: str, known: tuple[str, ...]) -> Entries:
        return self._tables.read(entries[key].value, key, known) if key in entries else {}

    def _read_hosts(self, node: Node, defaults: dict[str, Any]) -> None:
        if isinstance(node, SequenceNode) and node.value:
            for index, item in enumerate(node.value):
                if len(self._hosts) == MOST_HOSTS:
                    self._tables.note(item, f"hosts[{index}]", f"more than {MOST_HOSTS:,} hosts")
                    raise TooMany
                self._read_host(item, f"hosts[{index}]", defaults)
        else:
            found = "an empty list" if isinstance(node, SequenceNode) else shown(node)
            like = about_hosts(node.value) if isinstance(node, ScalarNode) else None
            expected = f"hosts: {like}" if like else "a list of hosts, each after '- '"
            message = f"expected {expected}; found {found}"
            self._tables.note(node, "hosts", message)

    def _read_host(self, node: Node, path: str, defaults: dict[str, Any]) -> None:
        """Read one entry of the list, which stands for as many hosts as its name has."""
        self._tables.spend(node, 1)
        if isinstance(node, ScalarNode):
            self._read_words(node, path, defaults)
            return
        entries = dict(self._tables.read(node, path, _HOST))
        name, address = entries.pop("name", None), entries.pop("address", None)
        given = self._section(HostSettings, entries, path)
        env = Environment({**defaults.get("env", {}), **given.get("env", {})})
        if name is not None:
            at = None
            if address is not None and not is_null(address.value):
                at = _Spot(address.value, f"{path}.address")
            settings = {**defaults, **given, "env": env}
            self._add(_Spot(name.value, f"{path}.name"), at, settings)
        elif isinstance(node, MappingNode) and not any(map(about_key, _keys(node))):
            self._tables.note(node, f"{path}.name", "missing; expected a host name")

    def _read_words(self, node: ScalarNode, path: str, defaults: dict[str, Any]) -> None:
        """Read an entry that is text: hosts as ssh takes them, `root@node[0-3],node7:2222`."""
        words = words_of(node.value)
        is_meant_as_key = about_key(node.value) is not None
        if is_null(node) or is_meant_as_key or not any("@" in w or ":" in w for w in words):
            self._add(_Spot(node, path), None, defaults)
            return
        for word in words:
            try:
                host = HostWord.parse(word)
            except ValueError as error:
                self._tables.note(node, path, f"{error}; found {quoted(word)}")
                continue

            name, address = _Spot(scalar(host.host, node), path), None
            if host.is_address:
                name, address = _Spot(scalar(f"node{len(self._hosts)}", node), path), name
            entries = {
                key: Entry(scalar(key, node), scalar(value, node))
                for key, value in host.settings.items()
            }
            self._add(name, address, {**defaults, **self._section(HostSettings, entries, path)})

    def _add(self, name: _Spot, address: _Spot | None, settings: dict[str, Any]) -> None:
        """Take in the hosts of one entry; the address is the name unless given."""
        names = self._expand(name, values.name)
        addresses = self._expand(address or name, values.address) if address or names else []
        if address and names and addresses and len(names) != len(addresses):
            message = f"expected {len(names)} addresses, one for each name; found {len(addresses)}"
            self._tables.note(*address, message)
        self._tables.spend(name.node, len(names) * (1 + len(settings.get("env", ()))))
        self._duplicates.check_names(*name, names)
        # There are as many of both, unless a fault has been noted.
        ends = zip(names, addresses, strict=False)
        hosts = [Host(name=one, address=its, **settings) for one, its in ends]
        self._duplicates.check_ways(*name, hosts)
        self._hosts += hosts

    def _expand(self, spot: _Spot, value: Callable[[object], str]) -> list[str]:
        """Return the names or addresses that stand there; none if there is a fault in them."""
        node = spot.node
        try:
            if not isinstance(node, ScalarNode) or is_null(node):
                return [value(None)]
            words = expand(node.value, MOST_HOSTS - len(self._hosts))
            return [value(word) for word in words or [""]]
        except ValueError as error:
            hint = about_host(node.value) if isinstance(node, ScalarNode) else None
            message = f"found {shown(node)}, which is no host: {hint}" if hint else None
            self._tables.note(*spot, message or f"{error}; found {shown(node)}")
            return []

    def _section(self, model: type[BaseModel], entries: Entries, path: str) -> dict[str, Any]:
        """Return the values of `entries` as `model` takes them; none if one of them is faulty.

        A key that is given nothing has the model's default, which wins over `defaults`.
        """
        raw: dict[str, Any] = {}
        for key, (_, value) in entries.items():
            if key == "env":
                raw[key] = self._environment(value, f"{path}.{key}")
            elif key == "launcher" and not self._check_launcher(value, f"{path}.{key}"):
                continue
            elif not is_null(value):
                raw[key] = value.value if isinstance(value, ScalarNode) else value
        try:
            valid = model.model_validate(raw, context=self._source.parent)
        except ValidationError as invalid:
            for fault in invalid.errors():
                key = str(fault["loc"][0])
                value, error = entries[key].value, fault["ctx"]["error"]
                self._tables.note(value, f"{path}.{key}", f"{error}; found {shown(value)}")
            return {}
        return {key: getattr(valid, key) for key in entries}

    def _check_launcher(self, node: Node, path: str) -> bool:
        """Note a launcher that is none of those that there are; tell whether there was nothing to note."""
        if self._launchers is None or not isinstance(node, ScalarNode) or is_null(node):
            return True
        known = self._launchers()
        if node.value in known:
            return True
        meant = nearest(node.value, known)
        message = f"expected one of {', '.join(known)}; found {shown(node)}"
        self._tables.note(node, path, f"{message}; did you mean {meant!r}?" if meant else message)
        return False

    def _environment(self, node: Node, path: str) -> Environment:
        variables: dict[str, str] = {}
        for name, (key, value) in self._tables.read(node, path, None).items():
            given = value.value if isinstance(value, ScalarNode) and not is_null(value) else None
            at: Node = key
            try:
                values.variable_name(name)
                at = value
                variables[name] = values.variable_value(given)
            except ValueError as error:
                self._tables.note(at, f"{path}.{name}", str(error))
        return Environment(variables)


class _Duplicates:
    """Tells of two hosts under one name, or at the end of one way, with the lines of both."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._names: dict[str, tuple[str, int]] = {}
        self._ways: dict[tuple[str, int | None, str | None], tuple[str, int]] = {}

    def check_names(self, at: Node, path: str, names: Iterable[str]) -> None:
        """Note the first of `names`, all written `at` one place, that was there before."""
        for name in names:
            # Folders carry it, and not every file system tells case apart.
            before = self._names.get(name.casefold())
            if before is not None:
                first, line = before
                but = "" if name == first else f", {first!r}, which differs only in case"
                message = f"duplicate name {name!r}; the first is on line {line}{but}"
                self._tables.note(at, path, message)
                return
            self._names[name.casefold()] = (name, place(at)[0])

    def check_ways(self, at: Node, path: str, hosts: Iterable[Host]) -> None:
        """Note the first of `hosts` that is reached as a host of another name is."""
        for host in hosts:
            way = (host.address.lower(), host.port, host.proxy_jump)
            first, line = self._ways.setdefault(way, (host.name, place(at)[0]))
            if first.casefold() != host.name.casefold():
                message = (
                    f"{host.name!r} has the same address, port and proxy_jump as {first!r} "
                    f"on line {line}"
                )
                self._tables.note(at, path, message)
                return
