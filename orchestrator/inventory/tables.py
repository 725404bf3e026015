"""YAML mappings as what they say: keys told apart and known, merge keys followed, work bounded."""

from __future__ import annotations

from typing import NamedTuple

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from orchestrator.inventory.hints import about_key
from orchestrator.inventory.problems import Problems, TooMany, did_you_mean, quoted
from orchestrator.inventory.values import VARIABLES
from orchestrator.inventory.yaml_nodes import is_merge, is_null, place

# Values read, and values of all hosts together. Aliases, merge keys and defaults multiply what a
# file says; this bounds the product. 10,000 hosts with 100 values each are within it.
_MOST_VALUES = 1_000_000
_LONGEST_CHAIN = 32  # mappings that take each other over


class Entry(NamedTuple):
    """A key and what it is given."""

    key: ScalarNode
    value: Node


Entries = dict[str, Entry]


class Tables:
    """Reads mappings of one tree. Each is read once, however many aliases lead to it."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._read: dict[tuple[int, tuple[str, ...] | None], Entries] = {}
        self._reading: set[int] = set()
        self._left = _MOST_VALUES

    def note(self, node: Node, path: str, message: str) -> None:
        """Note a fault at `node`, which is found under the keys `path`."""
        self._problems.add(*place(node), path, message)

    def spend(self, node: Node, count: int) -> None:
        """Account for `count` values of `node`; raises TooMany when there are too many in all."""
        self._left -= count
        if self._left < 0:
            self.note(node, "", f"with this, hosts have more than {_MOST_VALUES:,} values in all")
            raise TooMany

    def read(self, node: Node, path: str, known: tuple[str, ...] | None) -> Entries:
        """Return the entries of a mapping by key; `known` None takes any key.

        Own entries win over merged ones, earlier merged ones over later, as YAML has it.
        """
        if is_null(node):
            return {}
        if not isinstance(node, MappingNode):
            expected = f"the keys {', '.join(known)}" if known else VARIABLES
            self.note(node, path, f"expected {expected}; found {shown(node)}")
            return {}
        if (id(node), known) in self._read:
            return self._read[id(node), known]
        if id(node) in self._reading or len(self._reading) == _LONGEST_CHAIN:
            self.note(node, path, f"<< leads back here, or through over {_LONGEST_CHAIN} mappings")
            return {}
        self._reading.add(id(node))
        entries, merged = self._own(node, path, known)
        for source in merged:
            for table in source.value if isinstance(source, SequenceNode) else [source]:
                taken = self.read(table, path, known)
                self.spend(table, len(taken))
                entries = {**taken, **entries}
        self._reading.remove(id(node))
        self._read[id(node), known] = entries
        return entries

    def _own(
        self, table: MappingNode, path: str, known: tuple[str, ...] | None
    ) -> tuple[Entries, list[Node]]:
        entries: Entries = {}
        merged: list[Node] = []
        for key, value in table.value:
            if not isinstance(key, ScalarNode):
                self.note(key, path, f"expected a key; found {shown(key)}")
                continue
            here = f"{path}.{key.value}" if path else key.value
            if is_merge(key):
                merged.append(value)
            elif key.value in entries:
                first, _ = place(entries[key.value].key)
                self.note(key, here, f"duplicate key; the first is on line {first}")
            elif known is None or key.value in known:
                entries[key.value] = Entry(key, value)
            elif path or not key.value.startswith("x-"):  # x-...: a place for anchors
                self.note(key, here, f"unknown key; {_meant(key.value, known)}")
        self.spend(table, len(entries))
        return entries, merged


def _meant(key: str, known: tuple[str, ...]) -> str:
    return about_key(key) or did_you_mean(key, known)


def shown(node: Node) -> str:
    """What stands there, for a message."""
    if isinstance(node, ScalarNode):
        return "nothing" if is_null(node) else quoted(node.value)
    return "a list" if isinstance(node, SequenceNode) else "a mapping"
