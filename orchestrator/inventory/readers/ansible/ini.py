"""Read Ansible's INI inventories into a tree: sections, hosts with ranges and variables, children."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from orchestrator.inventory.problems import Problems
from orchestrator.inventory.readers.ansible.patterns import expand_pattern
from orchestrator.inventory.readers.ansible.tree import UNGROUPED, Tree
from orchestrator.inventory.readers.ansible.values import Literal, Value
from orchestrator.util.text import quoted

_COMMENTS = ("#", ";")
_SECTION = re.compile(r"\[([^:\]\s]+)(?::(\w+))?\]\s*(?:#.*)?")
_GROUP = re.compile(r"([^:\]\s]++)\s*(?:#.*)?")
_KINDS = ("hosts", "children", "vars")
_HEADER = re.compile(
    rb"^[ \t]*\[[^:\]\s,\"']+(:(hosts|children|vars))?\][ \t]*(#.*)?\r?$", re.MULTILINE
)


def looks_like_ini(head: bytes) -> bool:
    """Tell whether a file has a section, or a host with a variable of Ansible's."""
    return _HEADER.search(head) is not None or any(map(_is_host, head.splitlines()))


def _is_host(line: bytes) -> bool:
    """Tell whether a line begins with a host, and has a variable of Ansible's."""
    first, *rest = line.partition(b"#")[0].split() or [b""]
    is_name = first[:1] not in b"#;[{:\"'-" and not first.endswith(b":")
    return is_name and any(word.startswith(b"ansible_") and b"=" in word for word in rest)


def read_ini(text: str, source: str, problems: Problems, tree: Tree) -> None:
    """Add the hosts, groups and variables of `text` to `tree`, and what is wrong to `problems`."""
    _Reader(source, problems, tree).read(text)


class _Reader:
    def __init__(self, source: str, problems: Problems, tree: Tree) -> None:
        self._source = source
        self._problems = problems
        self._tree = tree
        self._line = 0
        self._group = UNGROUPED
        self._kind = "hosts"
        # Groups that are named before they are declared -> the lines, and the parents there.
        self._only_variables: dict[str, int] = {}
        self._children: dict[str, list[tuple[int, str]]] = {}

    @property
    def _place(self) -> str:
        return f"{self._source}:{self._line}"

    def read(self, text: str) -> None:
        for number, line in self._lines(text):
            self._line = number
            try:
                self._read_line(line)
            except ValueError as error:
                self._problems.add(self._line, 1, "", str(error))
        for group, at in self._only_variables.items():
            message = f"there is no group {quoted(group)}: its variables are those of no host"
            self._problems.add(at, 1, "", message)
        for group, places in self._children.items():
            for at, _ in places:
                self._problems.add(at, 1, "", f"there is no group {quoted(group)}")

    def _lines(self, text: str) -> Iterator[tuple[int, str]]:
        for number, raw in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
            line = raw.strip()
            if line and not line.startswith(_COMMENTS):
                yield number, line

    def _read_line(self, line: str) -> None:
        if section := _SECTION.fullmatch(line):
            self._begin(section[1], section[2] or "hosts")
        elif line.startswith("[") and line.endswith("]"):
            expected = "[group], [group:children] or [group:vars], without blanks"
            raise ValueError(f"expected {expected}; found {quoted(line)}")
        elif self._kind == "hosts":
            self._add_hosts(line)
        elif self._kind == "vars":
            self._set_variable(line)
        else:
            self._add_child(line)

    def _begin(self, group: str, kind: str) -> None:
        if kind not in _KINDS:
            self._kind = "hosts"
            raise ValueError(
                f"expected one of {', '.join(_KINDS)} after the colon; found {quoted(kind)}"
            )
        if group not in self._tree and kind == "vars" and group not in self._children:
            self._only_variables[group] = self._line
        self._tree.add_group(group)
        self._group, self._kind = group, kind
        if kind != "vars":
            self._only_variables.pop(group, None)
            for _, parent in self._children.pop(group, ()):
                self._tree.add_child(parent, group)

    def _add_hosts(self, line: str) -> None:
        try:
            pattern, *words = shlex.split(line, comments=True)
        except ValueError as error:
            raise ValueError(f"expected a host and its variables: {str(error).lower()}") from None
        names = expand_pattern(pattern)
        if pattern.endswith(":") and not names.port:
            raise ValueError(f"expected a port after the colon; found {quoted(pattern)}")
        if "---" in names.hosts:
            raise ValueError("expected a host; '---' begins YAML: name the file hosts.yml")
        variables = {}
        for word in words:
            key, equals, given = word.partition("=")
            if not equals:
                raise ValueError(
                    "expected NAME=VALUE after the host; quote a value that has blanks"
                )
            variables[key] = Value(Literal(given), self._place)
        for name in names.hosts:
            self._tree.add_host(name, self._group, names.port, self._place)
            for key, value in variables.items():
                self._tree.set_variable(name, key, value)

    def _set_variable(self, line: str) -> None:
        key, equals, given = line.partition("=")
        if not equals:
            raise ValueError("expected NAME=VALUE, a variable of the group")
        value = Value(Literal(given.strip()), self._place)
        self._tree.set_variable(self._group, key.strip(), value)

    def _add_child(self, line: str) -> None:
        found = _GROUP.fullmatch(line)
        if found is None:
            raise ValueError(f"expected the name of a group; found {quoted(line)}")
        child = found[1]
        if child in self._tree:
            self._tree.add_child(self._group, child)
        else:
            self._children.setdefault(child, []).append((self._line, self._group))
