"""SSH fleets of dstack: a YAML file with `type: fleet` and `ssh_config`."""

from __future__ import annotations

import re
from collections import Counter
from ipaddress import ip_address, ip_network
from pathlib import Path

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from orchestrator.inventory.mappings import Entries, MappingReader, describe
from orchestrator.inventory.model import Host, Inventory
from orchestrator.inventory.readers.base import Reader, Source, gateway_key_note
from orchestrator.inventory.readers.yaml_hosts import Settings, make_host, read_yaml, text_of
from orchestrator.inventory.yaml_nodes import scalar
from orchestrator.util.text import quoted

_FLEET = re.compile(rb"""^["']?type["']?[ \t]*:[ \t]*["']?fleet\b""", re.MULTILINE)
_PROXY = ("hostname", "port", "user", "identity_file")
_HOST = (*_PROXY, "proxy_jump", "internal_ip", "blocks")
_SSH = ("user", "port", "identity_file", "proxy_jump", "hosts", "network")
_SHARED = ("user", "port", "identity_file")


class DstackReader(Reader):
    """Reads the machines that dstack reaches by SSH."""

    name = "dstack"
    help = "an SSH fleet of dstack"
    is_data_only = True

    def recognises(self, source: Source) -> bool:
        return source.path is not None and _FLEET.search(source.head) is not None

    def read(self, source: Source) -> Inventory:
        return read_yaml(source, lambda root, mappings: _Fleet(source, mappings).read(root))


READER = DstackReader()


class _Fleet:
    def __init__(self, source: Source, mappings: MappingReader) -> None:
        self._source = source
        self._mappings = mappings
        self._gateway_keys: dict[str, None] = {}

    def read(self, root: Node) -> Inventory:
        top = self._mappings.read(root, "", None)
        if "ssh_config" not in top:
            message = "missing: dstack creates the machines of this fleet; orch creates none"
            self._mappings.add_problem(root, "ssh_config", message)
            return Inventory(hosts=(), source=Path(self._source.given))
        ssh = self._mappings.read(top["ssh_config"].value, "ssh_config", _SSH)
        hosts = self._hosts(ssh, top["ssh_config"].value)
        self._source.notes += map(gateway_key_note, self._gateway_keys)
        return Inventory(hosts=tuple(hosts), source=Path(self._source.given))

    def _hosts(self, ssh: Entries, at: Node) -> list[Host]:
        items = ssh["hosts"].value if "hosts" in ssh else None
        if not isinstance(items, SequenceNode) or not items.value:
            found = describe(items) if items is not None else "nothing"
            message = f"expected a list of hosts; found {found}"
            self._mappings.add_problem(items or at, "ssh_config.hosts", message)
            return []
        network = (
            text_of(ssh["network"].value, "network", self._mappings) if "network" in ssh else ""
        )
        entries = [
            self._entries(item, f"ssh_config.hosts[{index}]")
            for index, item in enumerate(items.value)
        ]
        times = Counter(str(own["hostname"].value) for own in entries if "hostname" in own)
        hosts = []
        for index, own in enumerate(entries):
            if "hostname" not in own:
                continue
            path = f"ssh_config.hosts[{index}]"
            settings = self._settings(own, ssh, path, network)
            hostname = str(own["hostname"].value)
            name = f"node{index}" if ":" in hostname else hostname
            if times[hostname] > 1 and "port" in settings:  # several machines behind one address
                name += f"-{text_of(settings['port'], path, self._mappings)}"
            host = make_host(name, own["hostname"], path, settings, self._mappings)
            if host is not None:
                hosts.append(host)
        self._require_distinct(hosts, items)
        return hosts

    def _entries(self, node: Node, path: str) -> dict[str, Node]:
        """Return the nodes of one host by key; none without its name."""
        if isinstance(node, ScalarNode):
            return {"hostname": node}
        if not isinstance(node, MappingNode):
            self._mappings.add_problem(node, path, f"expected a host; found {describe(node)}")
            return {}
        found = {key: value for key, (_, value) in self._mappings.read(node, path, _HOST).items()}
        if not isinstance(found.get("hostname"), ScalarNode):
            self._mappings.add_problem(
                node, f"{path}.hostname", "missing; expected a name or address"
            )
            return {}
        return found

    def _settings(self, own: dict[str, Node], ssh: Entries, path: str, network: str) -> Settings:
        """Return the nodes of a host by the keys of orch; its own take precedence over those of all."""
        hostname = own["hostname"]
        settings = {"address": hostname}
        shared = {key: ssh[key].value for key in (*_SHARED, "proxy_jump") if key in ssh}
        given = {**shared, **own}
        settings |= {key: given[key] for key in _SHARED if key in given}
        if "proxy_jump" in given:
            settings["proxy_jump"] = self._gateway(given["proxy_jump"], f"{path}.proxy_jump")
        if "internal_ip" in own:
            settings["internal_address"] = own["internal_ip"]
        elif network and _is_in(str(hostname.value), network):
            settings["internal_address"] = hostname
        elif network:
            note = f"the network {quoted(network)} is left to orch's choice; internal_ip names an address"
            if note not in self._source.notes:
                self._source.notes.append(note)
        return settings

    def _gateway(self, node: Node, path: str) -> Node:
        """Return a gateway as `user@host:port`."""
        entries = self._mappings.read(node, path, _PROXY)
        parts = {
            key: text_of(value, f"{path}.{key}", self._mappings)
            for key, (_, value) in entries.items()
        }
        for key in ("hostname", "user"):
            if not parts.get(key):
                self._mappings.add_problem(node, f"{path}.{key}", "missing; dstack requires it")
        if parts.get("identity_file"):
            self._gateway_keys[parts["identity_file"]] = None
        hop = f"{parts.get('user', '')}@{parts.get('hostname', '')}"
        return scalar(f"{hop}:{parts['port']}" if parts.get("port") else hop, node)

    def _require_distinct(self, hosts: list[Host], at: Node) -> None:
        times = Counter(host.name.casefold() for host in hosts)
        for name, count in times.items():
            if count > 1:
                message = f"the host {quoted(name)} is listed {count} times"
                self._mappings.add_problem(at, "ssh_config.hosts", message)


def _is_in(host: str, network: str) -> bool:
    try:
        return ip_address(host) in ip_network(network, strict=False)
    except ValueError:
        return False
