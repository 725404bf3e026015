"""Ansible's hosts, groups and variables, as its inventory files add up, and what each host gets of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

from orchestrator.inventory.ranges import MAX_HOSTS
from orchestrator.inventory.readers.ansible.values import Value, Variables, meaning
from orchestrator.util.text import escaped, quoted

ALL, UNGROUPED = "all", "ungrouped"
_PRIORITY = "ansible_group_priority"
_MAX_GROUPS = 2000


Layers = Callable[[str, Sequence[str]], list[Variables]]
"""Returns the variables in the files of `group_vars` or `host_vars` for these groups or hosts, in order."""


class Listing(NamedTuple):
    """What an inventory comes to: the variables of each host, and the hosts of each group, in order."""

    hosts: Mapping[str, Variables]
    groups: dict[str, list[str]]


@dataclass
class _Group:
    hosts: dict[str, None] = field(default_factory=dict)
    children: dict[str, None] = field(default_factory=dict)
    variables: dict[str, Value] = field(default_factory=dict)
    priority: int = 1


class Tree:
    """The groups and hosts of one inventory, in the order in which its files name them first.

    All functions raise ValueError for what Ansible refuses, too.
    """

    def __init__(self) -> None:
        self._groups = {ALL: _Group(), UNGROUPED: _Group()}
        self._hosts: dict[str, dict[str, Value]] = {}

    def __contains__(self, group: str) -> bool:
        return group in self._groups

    def add_group(self, name: str) -> None:
        if not name:
            raise ValueError("expected the name of a group; found nothing")
        if len(self._groups) == _MAX_GROUPS and name not in self._groups:
            raise ValueError(f"more than {_MAX_GROUPS:,} groups")
        self._groups.setdefault(name, _Group())

    def add_child(self, group: str, child: str) -> None:
        """Make `child` a group within `group`; both are known."""
        if child in (group, ALL) or (child == UNGROUPED and group != ALL):
            raise ValueError(f"the group {quoted(child)} cannot be in {quoted(group)}")
        self._groups[group].children[child] = None

    def add_host(self, name: str, group: str, port: int, place: str) -> None:
        """Add a host to a known group. A port counts if the host is new; 0 is none."""
        if name in ("", ALL):
            raise ValueError(f"expected the name of a host; found {quoted(name)}")
        if name not in self._hosts:
            if len(self._hosts) == MAX_HOSTS:
                raise ValueError(f"more than {MAX_HOSTS:,} hosts")
            self._hosts[name] = {"ansible_port": Value(port, place)} if port else {}
        self._groups[group].hosts[name] = None

    def set_variable(self, entity: str, key: str, value: Value) -> None:
        """Set a variable of the group with that name, else of the host: in this order, as Ansible does."""
        group = self._groups.get(entity)
        if group is None:
            self._hosts[entity][key] = value
        elif key == _PRIORITY:
            group.priority = _number(value)
        else:
            group.variables[key] = value

    def listing(self, of_files: Layers) -> Listing:
        """Return what each host gets: from groups by depth, priority and name, and then its own.

        What files have for groups counts more than what the inventory has for groups.
        """
        order = self._children_first()
        members = self._members(order)
        memberships = self._memberships(members)
        depths = self._depths(order)
        of_all = of_files("group_vars", [ALL])
        hosts: dict[str, Variables] = {}
        for host, own in self._hosts.items():
            groups = [name for name in memberships[host] if name != ALL]
            groups.sort(key=lambda name: (depths[name], self._groups[name].priority, name))
            layers: list[Variables] = [self._groups[name].variables for name in (ALL, *groups)]
            layers += [
                *of_all,
                *of_files("group_vars", groups),
                own,
                *of_files("host_vars", [host]),
            ]
            hosts[host] = _merged(layers)
        return Listing(hosts, members)

    def _members(self, order: Sequence[str]) -> dict[str, list[str]]:
        """Return the hosts of each group and of the groups in it, in the order of the inventory."""
        special = (ALL, UNGROUPED)
        grouped = {
            host for name in order if name not in special for host in self._groups[name].hosts
        }
        # As in Ansible: not a host with the name of a group, unless a file says so.
        ungrouped = self._groups[UNGROUPED]
        ungrouped.hosts = {
            host: None
            for host in self._hosts
            if host not in grouped and (host in ungrouped.hosts or host not in self._groups)
        }
        found: dict[str, set[str]] = {}
        for name in order:  # groups come after those in them
            group = self._groups[name]
            found[name] = set(group.hosts).union(*(found[child] for child in group.children))
        found[ALL] = set(self._hosts)
        positions = {host: position for position, host in enumerate(self._hosts)}
        return {name: sorted(found[name], key=positions.__getitem__) for name in self._groups}

    def _memberships(self, members: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
        groups: dict[str, list[str]] = {host: [] for host in self._hosts}
        for name, hosts in members.items():
            for host in hosts:
                groups[host].append(name)
        return groups

    def _children_first(self) -> list[str]:
        """Return all groups, each after those in it."""
        graph = {name: group.children for name, group in self._groups.items()}
        try:
            return list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            circle = " > ".join(map(escaped, reversed(error.args[1])))
            raise ValueError(f"groups contain each other: {circle}") from None

    def _depths(self, order: Sequence[str]) -> dict[str, int]:
        """Return the length of the longest way from `all` to each group."""
        depths = {name: int(name != ALL) for name in order}
        for name in reversed(order):
            for child in self._groups[name].children:
                depths[child] = max(depths[child], depths[name] + 1)
        return depths


def _merged(layers: Iterable[Variables]) -> Variables:
    merged: dict[str, Value] = {}
    for layer in layers:
        merged.update(layer)
    return merged


def _number(value: Value) -> int:
    try:
        return int(meaning(value.given))  # type: ignore[call-overload, no-any-return]
    except (ValueError, TypeError):
        raise ValueError(f"{_PRIORITY}: expected a number") from None
