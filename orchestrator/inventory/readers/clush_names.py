"""The nodes of ClusterShell's groups in the order of their definition; run in a process of its own.

ClusterShell sorts nodes, and takes a group that does not exist for an empty one. A group may be listed by a
program, for which ClusterShell waits without limit: `clush.py` runs this module and limits the time.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any, TypedDict

from ClusterShell.NodeSet import NodeSet, NodeSetException, std_group_resolver
from ClusterShell.NodeUtils import (
    GroupResolverError,
    GroupSourceError,
    GroupSourceNoUpcall,
)

from orchestrator.inventory.ranges import MAX_HOSTS, expand
from orchestrator.util.text import quoted

_WORDS = re.compile(r"(?:\[[^\[\]]*\]|[^,!&^\s\[\]])+")  # up to an operator outside of brackets
_MAX_NESTED = 16  # groups in groups


class Names(TypedDict):
    """The nodes of an expression, and of each group in it."""

    hosts: list[str]
    groups: dict[str, list[str]]


class Groups:
    """The groups of a resolver of ClusterShell's."""

    def __init__(self, resolver: Any) -> None:
        self._resolver = resolver

    def names(self, expression: str) -> Names:
        """Return the nodes of `@gpu`, `@gpu!@down`, `@source:group`, `node[1-9]&@rack1` and the like.

        They are in the order in which the expression, and the definitions of its groups, name them first.
        Raises ValueError for what ClusterShell or orch refuses, and for a group that has no nodes.
        """
        try:
            hosts = self._ordered(expression)
            groups = {
                word.removeprefix("@"): self._ordered(word)
                for word in _WORDS.findall(expression)
                if word.startswith("@") and "[" not in word
            }
        except (NodeSetException, GroupResolverError, GroupSourceError, OSError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None
        return {"hosts": hosts, "groups": groups}

    def _ordered(self, expression: str) -> list[str]:
        named = dict.fromkeys(self._mentioned(expression, None, _MAX_NESTED))
        members = NodeSet(expression, resolver=self._resolver)
        if len(members) > MAX_HOSTS:
            raise ValueError(f"expected at most {MAX_HOSTS:,} hosts")
        return [name for name in named if name in members]

    def _mentioned(self, expression: str, source: str | None, depth: int) -> Iterator[str]:
        """Yield every node in an expression, whatever its operators do with it."""
        if depth == 0:
            raise ValueError("groups contain each other")
        for word in _WORDS.findall(expression):
            if not word.startswith("@"):
                if re.search(r"[*?]", word):
                    raise ValueError(f"expected nodes or groups; found the pattern {quoted(word)}")
                yield from expand(word)
                continue
            for group in expand(word.removeprefix("@")):
                head, colon, name = group.rpartition(":")
                within = head if colon else source
                for definition in self._definitions(name, within):
                    yield from self._mentioned(definition, within, depth - 1)

    def _definitions(self, group: str, source: str | None) -> list[str]:
        """Return how a group is defined. Raises ValueError if it has no nodes, or does not exist."""
        found = self._all(source) if group == "*" else self._resolver.group_nodes(group, source)
        definitions = [str(each) for each in found if each]
        if not definitions:
            shown = f"{source}:{group}" if source else group
            raise ValueError(
                f"the group @{shown} does not exist, or has no nodes{self._known(source)}"
            )
        return definitions

    def _all(self, source: str | None) -> list[str]:
        try:
            return list(self._resolver.all_nodes(source))
        except GroupSourceNoUpcall:
            groups = self._resolver.grouplist(source)
            return [each for name in groups for each in self._resolver.group_nodes(name, source)]

    def _known(self, source: str | None) -> str:
        try:
            names = sorted(map(str, self._resolver.grouplist(source)))
        except GroupSourceError:  # the source cannot list its groups
            return ""
        return f"; there are {', '.join(f'@{name}' for name in names[:8])}" if names else ""


def main(expression: str) -> None:
    """Print the names, or what is wrong, as JSON."""
    try:
        answer: object = Groups(std_group_resolver()).names(expression)
    except ValueError as error:
        answer = {"error": str(error)}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
