"""Read the key `transport` of an inventory: a name, or a mapping of one name to its options."""

from __future__ import annotations

import re
from typing import Any

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from orchestrator.inventory import values
from orchestrator.inventory.mappings import MappingReader, describe
from orchestrator.inventory.model import TransportChoice
from orchestrator.inventory.yaml_nodes import is_null, position
from orchestrator.util.text import escaped

_PATH = "transport"
_EXPECTED = "expected a name, as in ssh, or one name with its options, as in {docker: {user: root}}"
_MAX_DEPTH = 4  # a list or mapping in the options of a mapping; an alias may refer to itself
# Only what `str` writes as it was read: 1e5, 007 and 1.50 stay text.
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,15})")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,8})\.([0-9]{0,5}[1-9]|0)")
_WORDS = {"true": True, "false": False}


def read_transport(node: Node, source: str, mappings: MappingReader) -> TransportChoice | None:
    """Return the transport that the value `node` asks for, None if it is null or faulty.

    Faults are added to `mappings`. Whether the transport exists and takes the options is not checked.
    """
    if is_null(node):
        return None
    name, options = node, None
    if isinstance(node, MappingNode) and len(node.value) == 1:
        ((name, options),) = node.value
    if not isinstance(name, ScalarNode):
        mappings.add_problem(node, _PATH, f"{_EXPECTED}; found {describe(node)}")
        return None
    try:
        named = values.transport(name.value)
    except ValueError as error:
        mappings.add_problem(name, _PATH, f"{error}; found {describe(name)}")
        return None
    line, column = position(name)
    return TransportChoice(
        name=named,
        options={} if options is None else _read_options(options, named, mappings),
        place=f"{escaped(source)}:{line}:{column}",
    )


def _read_options(node: Node, name: str, mappings: MappingReader) -> dict[str, Any]:
    """Return the options; a list is the one that has the transport's own name."""
    path = f"{_PATH}.{name}"
    if isinstance(node, SequenceNode):
        return {name: _value(node, path, mappings, _MAX_DEPTH)}
    if isinstance(node, ScalarNode) and not is_null(node):
        mappings.add_problem(node, path, f"expected its options; found {describe(node)}")
        return {}
    return {
        key: _value(value, f"{path}.{key}", mappings, _MAX_DEPTH)
        for key, (_, value) in mappings.read(node, path, None).items()
    }


def _value(node: Node, path: str, mappings: MappingReader, depth: int) -> Any:
    """Return a JSON value: text, or an unquoted number, `true`, `false` or null."""
    mappings.count_values(node, 1)
    if isinstance(node, ScalarNode):
        return _scalar(node)
    if depth == 0:
        mappings.add_problem(node, path, f"nested more than {_MAX_DEPTH} levels deep")
        return None
    if isinstance(node, SequenceNode):
        return [
            _value(each, f"{path}[{index}]", mappings, depth - 1)
            for index, each in enumerate(node.value)
        ]
    return {
        key: _value(value, f"{path}.{key}", mappings, depth - 1)
        for key, (_, value) in mappings.read(node, path, None).items()
    }


def _scalar(node: ScalarNode) -> Any:
    text: str = node.value
    if is_null(node):
        return None
    if node.style is not None:  # quoted, or a block of text
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        return float(text)
    return _WORDS.get(text, text)
