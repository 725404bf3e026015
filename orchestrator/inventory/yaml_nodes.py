"""Parse YAML into ruamel.yaml's nodes: every scalar as it was written, every node with its position.

No types are guessed: `1e5`, `0x10` and `on` stay text, and each key decides what it accepts. The `value` of
a mapping has all its pairs, with duplicate keys; an alias is the same object as its anchor, so repeating it
costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cached_property
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import AliasEvent, CollectionStartEvent
from ruamel.yaml.nodes import Node, ScalarNode
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.tag import Tag

from orchestrator.inventory.problems import Problems
from orchestrator.util.text import escaped

_MAX_DEPTH = 32  # levels; an inventory has five
_STR = Tag(suffix="tag:yaml.org,2002:str")
NULL = Tag(suffix="tag:yaml.org,2002:null")
_MERGE = Tag(suffix="tag:yaml.org,2002:merge")
_PLAIN = dict.fromkeys(("", "~", "null", "Null", "NULL"), NULL) | {"<<": _MERGE}
# Accepted and ignored, except !!str, which makes `null` and `<<` text.
_KINDS = ("str", "int", "float", "bool", "null", "seq", "map")
_TAGS = (None, "!", *(f"tag:yaml.org,2002:{kind}" for kind in _KINDS))

# The parser's "context, problem" -> the likely mistake; {line} is where the broken part starts.
_FAULTS = {
    re.compile(pattern, re.DOTALL): meaning
    for pattern, meaning in {
        r".*character '\\t'.*": "a tab stands here; indent with spaces, not with tabs",
        r"while parsing a flow (sequence|mapping), .*got '\['": (
            'within {{}} and [] a name with a range needs quotes: "node[0-3]"'
        ),
        r"while parsing a flow sequence, .*": "the [ on line {line} has no ] where one is expected",
        r"while parsing a flow mapping, .*": "the {{ on line {line} has no }} where one is expected",
        r"while scanning a quoted scalar, .*end of stream": (
            "the quote on line {line} is not closed"
        ),
        r"while scanning a simple key, .*": "line {line} is a key without ': ' after it",
        r"while parsing a block (collection|mapping), .*": (
            "this line does not continue what is above it: indent it like the lines it belongs to"
        ),
        r"mapping values are not allowed .*": (
            "a second ': ' in one line; give each key a line of its own, or put the value in quotes"
        ),
        r"sequence entries are not allowed .*": (
            "a '- ' within a line; give each host a line of its own"
        ),
        r"while scanning for the next token, found character '[@`%]'.*": (
            "a word cannot begin with this character; put it in quotes"
        ),
    }.items()
}


class NotYaml(Exception):
    """The text is not YAML that an inventory accepts; the problem has been added."""


def compose(text: str, problems: Problems, more_tags: Collection[str] = ()) -> Node | None:
    """Return the root node of `text`, None if it is empty. Raises NotYaml after adding the problem.

    Tags other than those of plain YAML are refused, except `more_tags`.
    """
    # pure: the C parser has different messages, and is not always installed.
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer, yaml.Resolver = _Composer, _Resolver
    composer = yaml.composer
    composer.tags = (*_TAGS, *more_tags)
    try:
        root: Node | None = yaml.compose(text.removeprefix("\ufeff"))
        return root
    except _Unsupported as unsupported:
        line, column, message = unsupported.args
    except MarkedYAMLError as error:
        mark: Any = error.problem_mark or error.context_mark
        line, column = mark.line + 1, mark.column + 1
        message = (
            "expected one document; a second one starts here"
            if isinstance(error, ComposerError)
            else f"not valid YAML: {_explain(error)}"
        )
    except ReaderError as error:
        before = text[: error.position].split("\n")
        line, column = len(before), len(before[-1]) + 1
        message = f"expected text, not the control character {chr(error.character)!r}"
    except (ValueError, OverflowError):
        # From chr() and int(), to which the parser passes escapes and version numbers unchecked.
        line, column = composer.position
        message = (
            "not valid YAML after this: an escape that is no character (the last is \\U0010FFFF), or a "
            "version that is no number"
        )
    problems.add(line, column, "", message)
    raise NotYaml


def position(node: Node) -> tuple[int, int]:
    """Return the line and the column where `node` starts, both from 1."""
    return node.start_mark.line + 1, node.start_mark.column + 1


def is_null(node: Node) -> bool:
    """Tell whether a value is missing or null."""
    return node.ctag is NULL


def is_merge(node: Node) -> bool:
    """Tell whether a key is the merge key `<<`."""
    return node.ctag is _MERGE


def scalar(text: str, at: Node) -> ScalarNode:
    """Return `text` as a quoted scalar at the position of `at`."""
    return ScalarNode(_STR, text, at.start_mark, at.end_mark)


def _explain(error: Any) -> str:
    """Return what to change in the file, or the parser's message if that is unknown."""
    said = ", ".join(escaped(part) for part in (error.context, error.problem) if part)
    start = error.context_mark or error.problem_mark
    for pattern, meaning in _FAULTS.items():
        if pattern.fullmatch(said):
            return meaning.format(line=start.line + 1)
    return said


class _Unsupported(Exception):
    """Valid YAML that an inventory does not accept: args are line, column, message."""


class _Resolver(VersionedResolver):
    """Recognises unquoted `null` and `<<`; all other scalars are text."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Tag:
        if kind is ScalarNode:
            return _PLAIN.get(value, _STR) if implicit[0] else _STR
        tag: Tag = super().resolve(kind, value, implicit)
        return tag


class _Composer(Composer):
    """ruamel's composer with limits."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader)
        self.warn_double_anchors = False  # a later anchor of the same name is valid YAML
        self.tags: Collection[str | None] = _TAGS
        self.position = (1, 1)  # of the latest node
        self._depth = 0

    # ruamel's own properties look both up for every node, a fifth of the total time.
    @cached_property
    def parser(self) -> Any:
        return self.loader.parser

    @cached_property
    def resolver(self) -> Any:
        return self.loader.resolver

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.parser.peek_event()
        self.position = line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if isinstance(event, AliasEvent):
            if event.anchor not in self.anchors:
                alias = escaped(event.anchor)
                raise _Unsupported(line, column, f"*{alias} has no anchor &{alias} above it")
        elif event.tag not in self.tags:
            raise _Unsupported(line, column, f"tags have no meaning here: {escaped(event.tag)}")
        if self._depth >= _MAX_DEPTH and isinstance(event, CollectionStartEvent):
            raise _Unsupported(line, column, f"nested more than {_MAX_DEPTH} levels deep")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def compose_scalar_node(self, anchor: Any) -> Any:
        node = super().compose_scalar_node(anchor)
        if not node.value.isascii():
            # JSON, which is YAML, escapes one character as a surrogate pair.
            joined = node.value.encode("utf-16", "surrogatepass")
            node.value = joined.decode("utf-16", "surrogatepass")
        return node
