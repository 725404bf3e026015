"""Read Ansible's YAML and JSON: inventories into a tree, and files of variables."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from orchestrator.errors import InventoryError
from orchestrator.inventory.mappings import Entries, Entry, MappingReader, describe
from orchestrator.inventory.problems import Problems, TooMany
from orchestrator.inventory.readers.ansible.patterns import expand_pattern
from orchestrator.inventory.readers.ansible.tree import Tree
from orchestrator.inventory.readers.ansible.values import VAULT_TAGS, Value, Variables, is_vaulted
from orchestrator.inventory.readers.base import Source
from orchestrator.inventory.yaml_nodes import NULL, NotYaml, compose, is_null, position
from orchestrator.util.text import escaped

_SECTIONS = ("hosts", "vars", "children")
_FIRST_KEY = re.compile(
    rb"""(?:[ \t\r]*(?:#[^\n]*|---[^\n]*|%[^\n]*|\{[ \t\r]*)?\n)*+[ \t{]*["']?[\w.-]+["']?[ \t]*:"""
)
_SECTION = re.compile(rb"""(?:\n[ \t]+|:[ \t]*\{[ \t]*)["']?(?:hosts|vars|children)["']?[ \t]*:""")
_PLUGIN = re.compile(rb"""^["']?plugin["']?[ \t]*:[ \t]*\S""", re.MULTILINE)
_MAX_DEPTH = 32  # groups in groups, folders in folders
_EXTENSIONS = ("", ".yml", ".yaml", ".json")


def looks_like_yaml(head: bytes) -> bool:
    """Tell whether these are groups, with the keys `hosts`, `vars` or `children` in them."""
    first = _FIRST_KEY.match(head)
    return first is not None and _SECTION.search(head, first.end() - 1) is not None


def configures_plugin(head: bytes) -> bool:
    """Tell whether a file says which plug-in of Ansible's lists the hosts."""
    return _FIRST_KEY.match(head) is not None and _PLUGIN.search(head) is not None


def read_yaml(text: str, source: str, problems: Problems, tree: Tree) -> None:
    """Add the hosts, groups and variables of `text` to `tree`, and what is wrong to `problems`.

    Raises NotYaml or TooMany, with the problem added, if reading must stop.
    """
    _Reader(source, problems, tree).read(compose(text, problems, VAULT_TAGS))


class _Reader:
    def __init__(self, source: str, problems: Problems, tree: Tree) -> None:
        self._source = source
        self._problems = problems
        self._mappings = MappingReader(problems)
        self._tree = tree

    def read(self, root: Node | None) -> None:
        if root is None or is_null(root):
            self._problems.add(
                1, 1, "", "the file is empty; expected groups, as in all: {hosts: {node0: }}"
            )
            return
        if not isinstance(root, MappingNode):
            self._mappings.add_problem(root, "", f"expected groups; found {describe(root)}")
            return
        for name, entry in self._mappings.read(root, "", None).items():
            self._read_group(name, entry, "", _MAX_DEPTH)

    def _read_group(self, name: str, entry: Entry, above: str, depth: int) -> None:
        path = f"{above}.{name}" if above else name
        self._mappings.count_values(entry.value, 1)
        if depth == 0:
            message = f"more than {_MAX_DEPTH} groups within each other"
            self._mappings.add_problem(entry.value, path, message)
            return
        self._try(entry.key, path, lambda: self._tree.add_group(name))
        if name not in self._tree:
            return
        for section, (_, value) in self._sections(entry.value, path).items():
            members = self._section(value, f"{path}.{section}")
            if section == "vars":
                self._set_variables(name, members)
            for key, member in members.items():
                if section == "hosts":
                    self._read_hosts(key, member, name, f"{path}.hosts")
                elif section == "children":
                    self._read_group(key, member, f"{path}.children", depth - 1)
                    self._try(member.key, path, partial(self._tree.add_child, name, key))

    def _sections(self, node: Node, path: str) -> Entries:
        if isinstance(node, MappingNode) or is_null(node):
            return self._mappings.read(node, path, _SECTIONS)
        message = f"expected hosts, vars or children; found {describe(node)}"
        self._mappings.add_problem(node, path, message)
        return {}

    def _section(self, node: Node, path: str) -> Entries:
        """Return the entries of `hosts`, `vars` or `children`; a name alone is an entry, too."""
        if isinstance(node, ScalarNode) and not is_null(node):
            return {node.value: Entry(node, _nothing(node))}
        if isinstance(node, MappingNode) or is_null(node):
            return self._mappings.read(node, path, None)
        message = (
            "expected a mapping, one `name:` a line; found a list: write `node0:`, not `- node0`"
        )
        self._mappings.add_problem(node, path, message)
        return {}

    def _read_hosts(self, pattern: str, entry: Entry, group: str, path: str) -> None:
        place = _place(self._source, entry.key)
        variables: Entries = {}
        if isinstance(entry.value, MappingNode):
            variables = self._mappings.read(entry.value, f"{path}.{pattern}", None)
        elif not is_null(entry.value):
            message = (
                f"expected variables, as in ansible_host: 10.0.0.1; found {describe(entry.value)}"
            )
            self._mappings.add_problem(entry.value, f"{path}.{pattern}", message)
        try:
            names = expand_pattern(pattern)
            self._mappings.count_values(entry.key, len(names.hosts) * (1 + len(variables)))
            for host in names.hosts:
                self._tree.add_host(host, group, names.port, place)
        except ValueError as error:
            self._mappings.add_problem(entry.key, path, str(error))
            return
        for host in names.hosts:
            self._set_variables(host, variables)

    def _set_variables(self, entity: str, variables: Entries) -> None:
        for key, (at, value) in variables.items():
            given = Value(value, _place(self._source, at))
            self._try(at, key, partial(self._tree.set_variable, entity, key, given))

    def _try(self, at: Node, path: str, action: Callable[[], None]) -> None:
        try:
            action()
        except ValueError as error:
            self._mappings.add_problem(at, path, str(error))


class VariableFiles:
    """The files below `group_vars` and `host_vars` in some folders, each read once, when it is needed."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._read: dict[Path, Variables] = {}

    def layers(self, kind: str, names: Sequence[str]) -> list[Variables]:
        """Return the variables of `kind` for each of `names`, folder by folder; later ones count more.

        Raises InventoryError for a file that is encrypted, or no mapping of variables.
        """
        folders = [each for folder in self._folders if (each := folder / kind).is_dir()]
        return [
            self._variables(file)
            for folder in folders
            for name in names
            for file in _files_of(folder, name)
        ]

    def _variables(self, file: Path) -> Variables:
        if file not in self._read:
            self._read[file] = _read_variables(file)
        return self._read[file]


def _files_of(folder: Path, name: str) -> list[Path]:
    """Return the files for a host or group: the first of `name`, `name.yml`, ..., or all in a folder."""
    if "/" in name or "\0" in name or name in ("", ".", ".."):
        return []
    for extension in _EXTENSIONS:
        path = folder / f"{name}{extension}"
        if path.is_dir():
            return list(_files_in(path, _MAX_DEPTH))
        if path.exists():
            return [path]
    return []


def _files_in(folder: Path, depth: int) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.endswith("~"):
            continue
        if path.is_dir() and not path.suffix and depth:
            yield from _files_in(path, depth - 1)
        elif path.is_file() and path.suffix in _EXTENSIONS:
            yield path


def _read_variables(file: Path) -> Variables:
    source = str(file)
    text = Source(source).text
    if is_vaulted(text):
        raise InventoryError(
            f"{escaped(source)}: it is encrypted with Ansible Vault",
            remedy="install ansible-core here, and export ANSIBLE_VAULT_PASSWORD_FILE=FILE",
        )
    problems = Problems(source)
    try:
        root = compose(text, problems, VAULT_TAGS)
        if root is None or is_null(root):
            return {}
        if not isinstance(root, MappingNode):
            problems.add(*position(root), "", f"expected variables; found {describe(root)}")
        entries = MappingReader(problems).read(root, "", None)
    except (NotYaml, TooMany):
        raise problems.error() from None
    if problems:
        raise problems.error()
    return {key: Value(value, _place(source, at)) for key, (at, value) in entries.items()}


def _nothing(at: Node) -> Node:
    return ScalarNode(NULL, "", at.start_mark, at.end_mark)


def _place(source: str, node: Node) -> str:
    return f"{source}:{position(node)[0]}"
