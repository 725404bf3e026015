"""Read YAML mappings: known keys only, no duplicates, merge keys resolved, in bounded time."""

from __future__ import annotations

from typing import NamedTuple

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from orchestrator.inventory.problems import Problems, TooMany, unknown_key
from orchestrator.inventory.values import VARIABLES
from orchestrator.inventory.yaml_nodes import is_merge, is_null, position
from orchestrator.util.text import quoted

# Limit on values read, and on values of all hosts together: aliases, merge keys and defaults multiply
# them. It allows 10,000 hosts with 100 values each.
_MAX_VALUES = 1_000_000
_MAX_MERGES = 32  # mappings that merge each other


class Entry(NamedTuple):
    key: ScalarNode
    value: Node


Entries = dict[str, Entry]


class MappingReader:
    """Reads the mappings of one document, each only once even if many aliases refer to it."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._read: dict[tuple[int, tuple[str, ...] | None], Entries] = {}
        self._reading: set[int] = set()
        self._values_left = _MAX_VALUES

    def add_problem(self, node: Node, path: str, message: str) -> None:
        """Add a fault at the position of `node`, which is below the keys `path`."""
        self._problems.add(*position(node), path, message)

    def count_values(self, node: Node, count: int) -> None:
        """Count `count` more values, at `node`. Raises TooMany if they exceed the limit."""
        self._values_left -= count
        if self._values_left < 0:
            message = f"with this, hosts have more than {_MAX_VALUES:,} values in all"
            self.add_problem(node, "", message)
            raise TooMany

    def read(self, node: Node, path: str, known: tuple[str, ...] | None) -> Entries:
        """Return the entries of a mapping by key; any key if `known` is None.

        A mapping's own entries override merged ones, earlier merged ones later ones, as in YAML.
        """
        if is_null(node):
            return {}
        if not isinstance(node, MappingNode):
            expected = f"the keys {', '.join(known)}" if known else VARIABLES
            self.add_problem(node, path, f"expected {expected}; found {describe(node)}")
            return {}
        if (id(node), known) in self._read:
            return self._read[id(node), known]
        if id(node) in self._reading or len(self._reading) == _MAX_MERGES:
            message = f"<< leads in a circle, or through over {_MAX_MERGES} mappings"
            self.add_problem(node, path, message)
            return {}
        self._reading.add(id(node))
        entries, merged = self._own(node, path, known)
        for source in merged:
            for mapping in source.value if isinstance(source, SequenceNode) else [source]:
                inherited = self.read(mapping, path, known)
                self.count_values(mapping, len(inherited))
                entries = {**inherited, **entries}
        self._reading.remove(id(node))
        self._read[id(node), known] = entries
        return entries

    def _own(
        self, mapping: MappingNode, path: str, known: tuple[str, ...] | None
    ) -> tuple[Entries, list[Node]]:
        """Return the entries of the mapping itself, and the values of its merge keys."""
        entries: Entries = {}
        merged: list[Node] = []
        for key, value in mapping.value:
            if not isinstance(key, ScalarNode):
                self.add_problem(key, path, f"expected a key; found {describe(key)}")
                continue
            here = f"{path}.{key.value}" if path else key.value
            if is_merge(key):
                merged.append(value)
            elif key.value in entries:
                first, _ = position(entries[key.value].key)
                self.add_problem(key, here, f"duplicate key; the first is on line {first}")
            elif known is None or key.value in known:
                entries[key.value] = Entry(key, value)
            elif path or not key.value.startswith("x-"):  # x-... holds anchors
                self.add_problem(key, here, f"unknown key; {unknown_key(key.value, known)}")
        self.count_values(mapping, len(entries))
        return entries, merged


def describe(node: Node) -> str:
    """Describe a node for a message: its text in quotes, `nothing`, `a list` or `a mapping`."""
    if isinstance(node, ScalarNode):
        return "nothing" if is_null(node) else quoted(node.value)
    return "a list" if isinstance(node, SequenceNode) else "a mapping"
