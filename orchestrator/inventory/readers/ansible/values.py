"""Values of Ansible's variables, as INI, YAML and JSON write them."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from orchestrator.inventory.yaml_nodes import is_merge, is_null

VAULT_TAGS = ("!vault", "!vault-encrypted", "!unsafe")
_VAULT = "$ANSIBLE_VAULT;"
_MAX_LITERAL = 4096  # characters; the rest is text in any case, which no setting takes
_MAX_ITEMS = 256
_MAX_DEPTH = 2


class Value(NamedTuple):
    """The value of a variable, as it was written, and where: `hosts.ini:3`."""

    given: object
    place: str


Variables = Mapping[str, Value]


class Literal(NamedTuple):
    """The value of an INI file: a literal of Python, or else text."""

    text: str


@dataclass(frozen=True)
class Vaulted:
    """A value that Ansible Vault has encrypted."""


def meaning(given: object) -> object:
    """Return a value as Ansible has it: text, a number, true, false, null, a list or a mapping.

    Raises ValueError for more items than any setting has.
    """
    if isinstance(given, Literal):
        return _evaluate(given.text)
    return _plain(given) if isinstance(given, Node) else given


def _evaluate(text: str) -> object:
    """Return the literal of Python that `text` is, else the text."""
    if len(text) > _MAX_LITERAL:
        return text
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in what is a path
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _plain(node: Node, depth: int = _MAX_DEPTH) -> object:
    """Return a YAML value; scalars are text, as they were written."""
    if not isinstance(node, ScalarNode) and (depth == 0 or len(node.value) > _MAX_ITEMS):
        raise ValueError(f"expected at most {_MAX_ITEMS} items, nested at most {_MAX_DEPTH} deep")
    if isinstance(node, SequenceNode):
        return [_plain(each, depth - 1) for each in node.value]
    if isinstance(node, MappingNode):
        return {_key(key): _plain(value, depth - 1) for key, value in node.value}
    if str(node.tag) in VAULT_TAGS[:2]:
        return Vaulted()
    return None if is_null(node) else str(node.value)


def _key(node: Node) -> str:
    if not isinstance(node, ScalarNode) or is_merge(node):
        raise ValueError("expected names and values, without <<")
    return str(node.value)


def is_vaulted(value: object) -> bool:
    """Tell whether a value is encrypted: by its tag, as text, or as `ansible-inventory` prints it."""
    return (
        isinstance(value, Vaulted)
        or (isinstance(value, str) and value.startswith(_VAULT))
        or (isinstance(value, dict) and "__ansible_vault" in value)
    )
