"""What readers of other tools' YAML share: documents, and hosts whose faults have a place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml.nodes import Node, ScalarNode

from orchestrator.errors import InventoryError
from orchestrator.inventory.mappings import MappingReader, describe
from orchestrator.inventory.model import Host, Inventory
from orchestrator.inventory.problems import Problems, TooMany
from orchestrator.inventory.readers.base import Source
from orchestrator.inventory.yaml_nodes import NotYaml, compose, is_null
from orchestrator.util.text import quoted

Settings = Mapping[str, Node]
"""Nodes with text, by the key of a host."""


def read_yaml(source: Source, read: Callable[[Node, MappingReader], Inventory]) -> Inventory:
    """Return what `read` makes of the document. Raises InventoryError with all problems that were added."""
    problems = Problems(source.given)
    try:
        root = compose(source.text, problems)
        if root is None:
            problems.add(1, 1, "", "the file is empty")
            raise TooMany
        inventory = read(root, MappingReader(problems))
    except (NotYaml, TooMany):
        raise problems.error() from None
    if problems:
        raise problems.error()
    if not inventory.hosts:
        raise InventoryError(f"{source}: no host in it")
    return inventory


def text_of(node: Node | None, path: str, mappings: MappingReader) -> str:
    """Return the text of a node; if it is none, add that as a problem, and return "". Null is ""."""
    if node is None or is_null(node):
        return ""
    if isinstance(node, ScalarNode):
        return str(node.value)
    mappings.add_problem(node, path, f"expected text; found {describe(node)}")
    return ""


def make_host(
    name: str, at: Node, path: str, settings: Settings, mappings: MappingReader
) -> Host | None:
    """Return a host; None if one of its values is faulty, which is added. Nulls are left out.

    Relative paths start at the current folder.
    """
    raw: dict[str, Any] = {
        key: text_of(node, f"{path}.{key}", mappings)
        for key, node in settings.items()
        if not is_null(node)
    }
    try:
        return Host.model_validate({**raw, "name": name}, context=Path.cwd())
    except ValidationError as invalid:
        for fault in invalid.errors():
            key = str(fault["loc"][0])
            found = name if key == "name" else str(raw.get(key, name))
            message = f"{fault['ctx']['error']}; found {quoted(found)}"
            mappings.add_problem(settings.get(key, at), path, message)
        return None
