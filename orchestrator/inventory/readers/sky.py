"""Machines of SkyPilot: the pools in `~/.sky/ssh_node_pools.yaml`."""

from __future__ import annotations

import re
from pathlib import Path

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from orchestrator.errors import InventoryError
from orchestrator.inventory.mappings import Entries, MappingReader, describe
from orchestrator.inventory.model import Group, Host, Inventory
from orchestrator.inventory.readers.base import Reader, Source
from orchestrator.inventory.readers.yaml_hosts import make_host, read_yaml
from orchestrator.inventory.ssh_config_hosts import HostLine, host_lines
from orchestrator.util.text import first_few, nearest, quoted

_POOL = ("hosts", "user", "identity_file", "password")
_HOST = ("ip", "user", "identity_file", "password")
_FILE = "~/.sky/ssh_node_pools.yaml"
_POOL_KEY = re.compile(r"""["']?(?P<name>[\w.-]+)["']?[ \t]*:[ \t]*(?:#.*)?""")
_HOSTS_KEY = re.compile(r"""[ \t]+["']?hosts["']?[ \t]*:""")


class SkyReader(Reader):
    """Reads `sky:`, `sky:POOL`, and files with pools."""

    name = "sky"
    help = "SSH node pools of SkyPilot"
    is_data_only = True

    def recognises(self, source: Source) -> bool:
        return source.path is not None and _lists_pools(source.head)

    def read(self, source: Source) -> Inventory:
        if not source.is_named or "/" in source.given or source.given.endswith((".yaml", ".yml")):
            file, pool = source, ""
        else:
            file, pool = Source(str(Path(_FILE).expanduser())), source.given
            if file.path is None:
                raise InventoryError(
                    f"{source}: there is no {_FILE}, where SkyPilot keeps its pools",
                    remedy="name another file that has pools: -i sky:./FILE",
                )
        pools = read_pools(file)
        if not pool:
            return pools
        return _one_pool(source, pools, pool)


READER = SkyReader()


def _lists_pools(head: bytes) -> bool:
    """Tell whether the first key holds a list of `hosts`; in `all`, that is a mistake in Ansible's YAML."""
    text = head.decode("utf-8", "replace")
    lines = [each for each in text.splitlines() if each.strip() and each.lstrip()[0] not in "#-%"]
    first = _POOL_KEY.fullmatch(lines[0].rstrip()) if lines else None
    if first is None or first["name"] == "all":
        return False
    lines = [
        each for each in text.splitlines() if each.strip() and not each.lstrip().startswith("#")
    ]
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        found = _HOSTS_KEY.match(line)
        if found is not None:
            rest = line[found.end() :].partition("#")[0].strip()
            return rest.startswith("[") or (not rest and after.lstrip().startswith("-"))
    return False


def _one_pool(source: Source, pools: Inventory, name: str) -> Inventory:
    """Return the hosts of one pool. Raises InventoryError if there is no such pool."""
    for group in pools.groups:
        if group.name == name:
            hosts = tuple(host for host in pools.hosts if host.name in group.hosts)
            return pools.model_copy(update={"hosts": hosts, "source": f"sky:{name}"})
    names = [group.name for group in pools.groups]
    meant = nearest(name, names)
    hint = f"did you mean {meant}?" if meant else f"there are {first_few(names)}"
    raise InventoryError(f"{source}: {_FILE} has no pool {quoted(name)}; {hint}")


def read_pools(source: Source) -> Inventory:
    """Return all hosts of a file, and a group for each pool. Raises InventoryError."""
    return read_yaml(source, lambda root, mappings: _Pools(source, mappings).read(root))


class _Pools:
    def __init__(self, source: Source, mappings: MappingReader) -> None:
        self._source = source
        self._mappings = mappings
        self._lines: list[HostLine] = host_lines()
        self._hosts: dict[str, Host] = {}
        self._has_passwords = False

    def read(self, root: Node) -> Inventory:
        groups = [
            Group(name=name, hosts=tuple(self._pool(value, name)))
            for name, (_, value) in self._mappings.read(root, "", None).items()
        ]
        if self._has_passwords:
            note = "password is left out: SkyPilot enters it for sudo, which orch does not use"
            self._source.notes.append(note)
        return Inventory(
            hosts=tuple(self._hosts.values()), groups=tuple(groups), source=Path(self._source.given)
        )

    def _pool(self, node: Node, path: str) -> list[str]:
        """Add the hosts of a pool, and return their names."""
        pool = self._mappings.read(node, path, _POOL)
        hosts = pool["hosts"].value if "hosts" in pool else None
        if not isinstance(hosts, SequenceNode) or not hosts.value:
            found = describe(hosts) if hosts is not None else "nothing"
            message = f"expected a list of hosts; found {found}"
            self._mappings.add_problem(hosts or node, f"{path}.hosts", message)
            return []
        names = []
        for index, item in enumerate(hosts.value):
            host = self._host(item, pool, f"{path}.hosts[{index}]")
            if host is not None:
                names.append(host.name)
        return names

    def _host(self, node: Node, pool: Entries, path: str) -> Host | None:
        own: Entries = {}
        at = node
        if isinstance(node, MappingNode):
            own = self._mappings.read(node, path, _HOST)
            if "ip" not in own:
                self._mappings.add_problem(
                    node, path, "missing: ip, the name or address of the host"
                )
                return None
            at = own["ip"].value
        if not isinstance(at, ScalarNode):
            self._mappings.add_problem(at, path, f"expected a host; found {describe(at)}")
            return None
        self._has_passwords |= "password" in own or "password" in pool
        settings: dict[str, Node] = {"address": at}
        if not self._is_configured(at.value):
            for key in ("user", "identity_file"):
                entry = own.get(key) or pool.get(key)
                if entry is not None and getattr(entry.value, "value", None) != "":
                    settings[key] = entry.value
        name = f"node{len(self._hosts)}" if ":" in at.value else at.value
        host = make_host(name, at, path, settings, self._mappings)
        if host is None:
            return None
        before = self._hosts.setdefault(name.casefold(), host)
        if before != host:
            message = f"the host {quoted(at.value)} is listed twice, with another user or key"
            self._mappings.add_problem(at, path, message)
        return before

    def _is_configured(self, host: str) -> bool:
        """Tell whether ssh_config has a stanza for the host, which then counts alone, as SkyPilot does.

        A pattern that begins with a star is none.
        """
        found = [line.match(host) for line in self._lines]
        return any(pattern is not None and not pattern.startswith("*") for pattern in found)
