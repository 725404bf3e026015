"""Read orch's own inventory format, YAML: an Inventory, or all faults of the file at once.

A faulty part is reported and skipped, and reading continues; an Inventory is returned only if nothing was
reported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from orchestrator.inventory import values
from orchestrator.inventory.mappings import Entries, Entry, MappingReader, describe
from orchestrator.inventory.model import Group, Host, HostSettings, Inventory, Main, Settings
from orchestrator.inventory.problems import (
    Problems,
    TooMany,
    closest_key,
    host_hint,
    hosts_hint,
    key_hint,
)
from orchestrator.inventory.ranges import MAX_HOSTS, HostSpec, expand, split_expression
from orchestrator.inventory.readers.base import Launchers, Reader, Source
from orchestrator.inventory.transport_key import read_transport
from orchestrator.inventory.values import Environment
from orchestrator.inventory.yaml_nodes import NotYaml, compose, is_null, position, scalar
from orchestrator.util.text import nearest, quoted

_TOP = ("defaults", "main", "transport", "hosts", "groups")
_MAIN = tuple(Main.model_fields)
_SETTINGS = tuple(Settings.model_fields)
_HOST = ("name", "address", "internal_address", *HostSettings.model_fields)
# The first key, and with the same indentation; within other keys, they are those of other formats.
_FIRST_KEY = re.compile(
    rb"""(?:[ \t\r]*(?:#[^\n]*|---[^\n]*|%[^\n]*|\{[ \t\r]*)?\n)*+([ \t{]*)["']?([\w.-]+)"""
)
_OWN_KEY = re.compile(
    rb"""^([ \t{]*)["']?(?:defaults|main|transport|hosts)["']?[ \t]*:""", re.MULTILINE
)
_GROUP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:-]{0,252}")


class OrchYaml(Reader):
    """orch's own format, which has every key of a host."""

    name = "orch"
    help = "an inventory of orch's"
    is_data_only = True

    def recognises(self, source: Source) -> bool:
        head = source.head.removeprefix(b"\xef\xbb\xbf")
        first = _FIRST_KEY.match(head)
        if first is None:
            return False
        return any(
            len(each[1]) == len(first[1]) for each in _OWN_KEY.finditer(head, first.start(1))
        )

    def read(self, source: Source) -> Inventory:
        return parse(source.text, Path(source.given), source.launchers)


READER = OrchYaml()


def parse(text: str, source: Path, launchers: Launchers = None) -> Inventory:
    """Return the inventory in `text`, which was read from `source`.

    Relative paths start at the folder of `source`. `launchers` returns the valid names of launchers (None:
    any); it is called only if the text names one. Raises InventoryError, with every fault in `problems`.
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
    """Tell whether an unknown key of `root` most likely stands for `key`, and was reported as such."""
    return any(closest_key(each, _TOP) == key for each in _keys(root) if each not in _TOP)


def _keys(mapping: MappingNode) -> list[str]:
    return [key.value for key, _ in mapping.value if isinstance(key, ScalarNode)]


class _Place(NamedTuple):
    """A node, and the keys under which it is found."""

    node: Node
    path: str


def _place(entry: Entry | None, path: str) -> _Place | None:
    """Return where the value of an entry is; None if there is none, or it is null."""
    return None if entry is None or is_null(entry.value) else _Place(entry.value, path)


def _plain(node: Node) -> object:
    """Return the text of a scalar, the texts of a list of scalars; anything else as it is."""
    if isinstance(node, ScalarNode):
        return node.value
    if isinstance(node, SequenceNode) and all(isinstance(n, ScalarNode) for n in node.value):
        return [each.value for each in node.value]
    return node


class _Document:
    """Reads one document: collects its hosts, and reports its faults."""

    def __init__(self, source: Path, problems: Problems, launchers: Launchers) -> None:
        self._source = source
        self._problems = problems
        self._launchers = launchers
        self._mappings = MappingReader(problems)
        self._hosts: list[Host] = []
        self._duplicates = _Duplicates(self._mappings)

    def inventory(self, root: Node | None) -> Inventory:
        """Return what could be read; complete only if no problem was added."""
        top = self._top(root)
        main = self._section(Main, self._mapping(top, "main", _MAIN), "main")
        defaults = self._section(Settings, self._mapping(top, "defaults", _SETTINGS), "defaults")
        transport = None
        if "transport" in top:
            transport = read_transport(top["transport"].value, str(self._source), self._mappings)
        if "hosts" in top:
            self._read_hosts(top["hosts"].value, defaults)
        groups = self._groups(top["groups"].value) if "groups" in top else ()
        hosts = tuple(host for host in self._hosts if not host.spare)
        spares = tuple(host for host in self._hosts if host.spare)
        if spares and not hosts:
            message = "expected a host that is no spare; all of them are"
            self._mappings.add_problem(top["hosts"].value, "hosts", message)
        return Inventory(
            hosts=hosts,
            spares=spares,
            main=Main(**main),
            groups=groups,
            transport=transport,
            source=self._source,
        )

    def _top(self, root: Node | None) -> Entries:
        if root is None or is_null(root):
            line, column = (1, 1) if root is None else position(root)
            message = "the file is empty; expected at least a list 'hosts'"
            self._problems.add(line, column, "", message)
            return {}
        if isinstance(root, ScalarNode) and (hint := hosts_hint(root.value)):
            message = f"expected the key hosts; found {describe(root)}; write hosts: {hint}"
            self._mappings.add_problem(root, "", message)
            return {}
        top = self._mappings.read(root, "", _TOP)
        if isinstance(root, MappingNode) and "hosts" not in top and not _is_misspelt(root, "hosts"):
            self._mappings.add_problem(root, "hosts", "missing; expected a list of hosts")
        return top

    def _groups(self, node: Node) -> tuple[Group, ...]:
        """Return the groups: each a name, and a range or a list of ranges of the hosts' names."""
        known = [host.name for host in self._hosts]
        groups = []
        for name, (key, value) in self._mappings.read(node, "groups", None).items():
            path = f"groups.{name}"
            members = value.value if isinstance(value, SequenceNode) else [value]
            names = [
                host for each in members for host in self._expand(_Place(each, path), values.name)
            ]
            self._mappings.count_values(value, len(names))
            unknown = next((host for host in names if host not in known), None)
            if unknown is not None:
                meant = nearest(unknown, known)
                hint = f"; did you mean {meant!r}?" if meant else ""
                self._mappings.add_problem(
                    value, path, f"no host is called {quoted(unknown)}{hint}"
                )
            if not _GROUP.fullmatch(name):
                message = "expected the name of a group: letters, digits, '.', '_', '-' and ':'"
                self._mappings.add_problem(key, path, f"{message}; found {quoted(name)}")
            groups.append(Group(name=name, hosts=tuple(dict.fromkeys(names))))
        return tuple(groups)

    def _mapping(self, entries: Entries, key: str, known: tuple[str, ...]) -> Entries:
        return self._mappings.read(entries[key].value, key, known) if key in entries else {}

    def _read_hosts(self, node: Node, defaults: dict[str, Any]) -> None:
        if isinstance(node, SequenceNode) and node.value:
            for index, item in enumerate(node.value):
                path = f"hosts[{index}]"
                if len(self._hosts) == MAX_HOSTS:
                    self._mappings.add_problem(item, path, f"more than {MAX_HOSTS:,} hosts")
                    raise TooMany
                self._read_host(item, path, defaults)
            return
        found = "an empty list" if isinstance(node, SequenceNode) else describe(node)
        hint = hosts_hint(node.value) if isinstance(node, ScalarNode) else None
        expected = f"hosts: {hint}" if hint else "a list of hosts, each after '- '"
        self._mappings.add_problem(node, "hosts", f"expected {expected}; found {found}")

    def _read_host(self, node: Node, path: str, defaults: dict[str, Any]) -> None:
        """Read one entry of the list, which is one host, or as many as the range in its name has."""
        self._mappings.count_values(node, 1)
        if isinstance(node, ScalarNode):
            self._read_text(node, path, defaults)
            return
        entries = dict(self._mappings.read(node, path, _HOST))
        name = entries.pop("name", None)
        address = _place(entries.pop("address", None), f"{path}.address")
        internal = _place(entries.pop("internal_address", None), f"{path}.internal_address")
        given = self._section(HostSettings, entries, path)
        if name is not None:
            env = Environment({**defaults.get("env", {}), **given.get("env", {})})
            settings = {**defaults, **given, "env": env}
            self._add(_Place(name.value, f"{path}.name"), address, settings, internal)
        elif isinstance(node, MappingNode) and not any(map(key_hint, _keys(node))):
            self._mappings.add_problem(node, f"{path}.name", "missing; expected a host name")

    def _read_text(self, node: ScalarNode, path: str, defaults: dict[str, Any]) -> None:
        """Read an entry that is text: hosts as for ssh, `root@node[0-3],node7:2222`."""
        parts = split_expression(node.value)
        is_key = key_hint(node.value) is not None
        if is_null(node) or is_key or not any("@" in part or ":" in part for part in parts):
            self._add(_Place(node, path), None, defaults)
            return
        for part in parts:
            try:
                spec = HostSpec.parse(part)
            except ValueError as error:
                self._mappings.add_problem(node, path, f"{error}; found {quoted(part)}")
                continue
            name, address = _Place(scalar(spec.host, node), path), None
            if spec.is_address:
                name, address = _Place(scalar(f"node{len(self._hosts)}", node), path), name
            entries = {
                key: Entry(scalar(key, node), scalar(value, node))
                for key, value in spec.settings.items()
            }
            self._add(name, address, {**defaults, **self._section(HostSettings, entries, path)})

    def _add(
        self,
        name: _Place,
        address: _Place | None,
        settings: dict[str, Any],
        internal: _Place | None = None,
    ) -> None:
        """Add the hosts of one entry; without an address, the name serves as one."""
        names = self._expand(name, values.name)
        addresses = self._expand(address or name, values.address) if address or names else []
        self._check_count(address, names, addresses)
        internals: Sequence[str | None] = [None] * len(names)
        if internal is not None:
            internals = self._expand(internal, values.ip)
            self._check_count(internal, names, internals)
        self._mappings.count_values(name.node, len(names) * (1 + len(settings.get("env", ()))))
        self._duplicates.check_names(*name, names)
        # They have the same length unless a problem has been added.
        hosts = [
            Host(name=one, address=its, internal_address=inside, **settings)
            for one, its, inside in zip(names, addresses, internals, strict=False)
        ]
        self._duplicates.check_endpoints(*name, hosts)
        self._duplicates.check_internal(*(internal or name), hosts)
        self._hosts += hosts

    def _check_count(
        self, place: _Place | None, names: Sequence[str], addresses: Sequence[str | None]
    ) -> None:
        """Report another number of addresses at `place` than of names."""
        if place and names and addresses and len(names) != len(addresses):
            message = f"expected {len(names)} addresses, one for each name; found {len(addresses)}"
            self._mappings.add_problem(*place, message)

    def _expand(self, place: _Place, check: Callable[[object], str]) -> list[str]:
        """Return the names or addresses at `place`; none if one of them is faulty."""
        node = place.node
        try:
            if not isinstance(node, ScalarNode) or is_null(node):
                return [check(None)]
            names = expand(node.value, MAX_HOSTS - len(self._hosts))
            return [check(name) for name in names or [""]]
        except ValueError as error:
            hint = host_hint(node.value) if isinstance(node, ScalarNode) else None
            found = f"found {describe(node)}"
            message = f"{found}, which is not a host: {hint}" if hint else f"{error}; {found}"
            self._mappings.add_problem(*place, message)
            return []

    def _section(self, model: type[BaseModel], entries: Entries, path: str) -> dict[str, Any]:
        """Return the values of `entries` as `model` takes them; none if one of them is faulty.

        A null key has the model's default, which overrides `defaults`.
        """
        raw: dict[str, Any] = {}
        for key, (_, value) in entries.items():
            if key == "env":
                raw[key] = self._environment(value, f"{path}.{key}")
            elif key == "launcher" and not self._check_launcher(value, f"{path}.{key}"):
                continue
            elif not is_null(value):
                raw[key] = _plain(value)
        try:
            valid = model.model_validate(raw, context=self._source.parent)
        except ValidationError as invalid:
            for fault in invalid.errors():
                key = str(fault["loc"][0])
                value, error = entries[key].value, fault["ctx"]["error"]
                message = f"{error}; found {describe(value)}"
                self._mappings.add_problem(value, f"{path}.{key}", message)
            return {}
        return {key: getattr(valid, key) for key in entries}

    def _check_launcher(self, node: Node, path: str) -> bool:
        """Report an unknown launcher; return False if it is one."""
        if self._launchers is None or not isinstance(node, ScalarNode) or is_null(node):
            return True
        known = self._launchers()
        if node.value in known:
            return True
        meant = nearest(node.value, known)
        message = f"expected one of {', '.join(known)}; found {describe(node)}"
        message += f"; did you mean {meant!r}?" if meant else ""
        self._mappings.add_problem(node, path, message)
        return False

    def _environment(self, node: Node, path: str) -> Environment:
        variables: dict[str, str] = {}
        for name, (key, value) in self._mappings.read(node, path, None).items():
            given = value.value if isinstance(value, ScalarNode) and not is_null(value) else None
            at: Node = key
            try:
                values.variable_name(name)
                at = value
                variables[name] = values.variable_value(given)
            except ValueError as error:
                self._mappings.add_problem(at, f"{path}.{name}", str(error))
        return Environment(variables)


class _Duplicates:
    """Reports hosts with the same name, endpoint or internal address, with the lines of both."""

    def __init__(self, mappings: MappingReader) -> None:
        self._mappings = mappings
        self._names: dict[str, tuple[str, int]] = {}
        self._endpoints: dict[tuple[str, int | None, str | None], tuple[str, int]] = {}
        self._internal: dict[str, tuple[str, int]] = {}

    def check_names(self, at: Node, path: str, names: Iterable[str]) -> None:
        """Report the first of `names`, all written `at` one position, that is used already.

        Case is ignored: names are also names of folders.
        """
        for name in names:
            before = self._names.get(name.casefold())
            if before is not None:
                first, line = before
                but = "" if name == first else f", {first!r}, which differs only in case"
                message = f"duplicate name {name!r}; the first is on line {line}{but}"
                self._mappings.add_problem(at, path, message)
                return
            self._names[name.casefold()] = (name, position(at)[0])

    def check_endpoints(self, at: Node, path: str, hosts: Iterable[Host]) -> None:
        """Report the first of `hosts` that has the endpoint of a host with another name."""
        for host in hosts:
            endpoint = (host.address.lower(), host.port, host.proxy_jump)
            first, line = self._endpoints.setdefault(endpoint, (host.name, position(at)[0]))
            if first.casefold() != host.name.casefold():
                message = f"{host.name!r} has the same address, port and proxy_jump as {first!r} "
                self._mappings.add_problem(at, path, f"{message}on line {line}")
                return

    def check_internal(self, at: Node, path: str, hosts: Iterable[Host]) -> None:
        """Report the first of `hosts` that has the internal address of a host with another name."""
        for host in hosts:
            if host.internal_address is None:
                continue
            mine = (host.name, position(at)[0])
            first, line = self._internal.setdefault(str(ip_address(host.internal_address)), mine)
            if first.casefold() != host.name.casefold():
                message = f"{host.name!r} has the same internal address as {first!r} on line {line}"
                self._mappings.add_problem(at, path, message)
                return
