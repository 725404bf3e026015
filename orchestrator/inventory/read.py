"""From the text of an inventory to the typed value, or to all of its faults in one go.

A fault in one place never hides another: what cannot be read is noted and left out, and reading
goes on. Only when nothing was noted is there an Inventory.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from orchestrator.inventory import values
from orchestrator.inventory.duplicates import Duplicates
from orchestrator.inventory.environment import Environment
from orchestrator.inventory.model import Host, HostSettings, Inventory, Main, Settings
from orchestrator.inventory.problems import Problems, TooMany, nearest
from orchestrator.inventory.ranges import MOST_HOSTS, expand
from orchestrator.inventory.tables import Entries, Tables, shown
from orchestrator.inventory.tree import Listing, Node, NotYaml, Scalar, Table, compose

_TOP = ("defaults", "main", "hosts")
_MAIN = tuple(Main.model_fields)
_SETTINGS = tuple(Settings.model_fields)
_HOST = ("name", "address", *HostSettings.model_fields)


def parse(text: str, source: Path) -> Inventory:
    """Return the inventory in `text`, which was read from `source`.

    Relative paths are taken from the folder of `source`. Raises InventoryError, whose `problems`
    has every fault with its place.
    """
    problems = Problems(source)
    try:
        inventory = _Reader(source, problems).inventory(compose(text, problems))
    except (NotYaml, TooMany):
        raise problems.error() from None
    if problems:
        raise problems.error()
    return inventory


class _Spot(NamedTuple):
    """A node, and the keys under which it is found."""

    node: Node
    path: str


class _Reader:
    """Walks the tree once, notes what is wrong with it, and gathers the rest."""

    def __init__(self, source: Path, problems: Problems) -> None:
        self._source = source
        self._tables = Tables(problems)
        self._hosts: list[Host] = []
        self._duplicates = Duplicates(self._tables)

    def inventory(self, root: Node | None) -> Inventory:
        """Return what could be read of it; complete only if no problem was noted."""
        if root is None or root.is_null:
            nothing = root or Scalar(1, 1, "", plain=True)
            self._tables.note(nothing, "", "the file is empty; expected at least a list 'hosts'")
            top: Entries = {}
        else:
            top = self._tables.read(root, "", _TOP)
            if isinstance(root, Table) and "hosts" not in top:
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
        if isinstance(node, Listing) and node.items:
            for index, item in enumerate(node.items):
                if len(self._hosts) == MOST_HOSTS:
                    self._tables.note(item, f"hosts[{index}]", f"more than {MOST_HOSTS:,} hosts")
                    raise TooMany
                self._read_host(item, f"hosts[{index}]", defaults)
        else:
            found = "an empty list" if isinstance(node, Listing) else shown(node)
            message = f"expected a list of hosts, each after '- '; found {found}"
            self._tables.note(node, "hosts", message)

    def _read_host(self, node: Node, path: str, defaults: dict[str, Any]) -> None:
        """Read one entry of the list, which stands for as many hosts as its name has."""
        self._tables.spend(node, 1)
        if isinstance(node, Scalar):
            self._add(_Spot(node, path), None, defaults)
            return
        entries = dict(self._tables.read(node, path, _HOST))
        name, address = entries.pop("name", None), entries.pop("address", None)
        given = self._section(HostSettings, entries, path)
        env = Environment({**defaults.get("env", {}), **given.get("env", {})})
        if name is not None:
            at = None
            if address is not None and not address.value.is_null:
                at = _Spot(address.value, f"{path}.address")
            settings = {**defaults, **given, "env": env}
            self._add(_Spot(name.value, f"{path}.name"), at, settings)
        elif isinstance(node, Table):
            self._tables.note(node, f"{path}.name", "missing; expected a host name")

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
            if not isinstance(node, Scalar) or node.is_null:
                return [value(None)]
            words = expand(node.text, MOST_HOSTS - len(self._hosts))
            return [value(word) for word in words or [""]]
        except ValueError as error:
            self._tables.note(*spot, f"{error}; found {shown(node)}")
            return []

    def _section(self, model: type[BaseModel], entries: Entries, path: str) -> dict[str, Any]:
        """Return the values of `entries` as `model` takes them; none if one of them is faulty.

        A key that is given nothing has the model's default, which wins over `defaults`.
        """
        raw: dict[str, Any] = {}
        for key, (_, value) in entries.items():
            if key == "env":
                raw[key] = self._environment(value, f"{path}.{key}")
            elif not value.is_null:
                raw[key] = value.text if isinstance(value, Scalar) else value
        try:
            valid = model.model_validate(raw, context=self._source.parent)
        except ValidationError as invalid:
            for fault in invalid.errors():
                key = str(fault["loc"][0])
                value, error = entries[key].value, fault["ctx"]["error"]
                message = f"{error}; found {shown(value)}"
                if key == "launcher" and isinstance(value, Scalar):
                    meant = nearest(value.text, values.LAUNCHERS)
                    message += f"; did you mean {meant!r}?" if meant else ""
                self._tables.note(value, f"{path}.{key}", message)
            return {}
        return {key: getattr(valid, key) for key in entries}

    def _environment(self, node: Node, path: str) -> Environment:
        variables: dict[str, str] = {}
        for name, (key, value) in self._tables.read(node, path, None).items():
            given = value.text if isinstance(value, Scalar) and not value.is_null else None
            at: Node = key
            try:
                values.variable_name(name)
                at = value
                variables[name] = values.variable_value(given)
            except ValueError as error:
                self._tables.note(at, f"{path}.{name}", str(error))
        return Environment(variables)
