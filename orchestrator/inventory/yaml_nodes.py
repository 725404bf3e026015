"""YAML as ruamel.yaml's nodes: every scalar as it was written, every key and value with its place.

What a key takes is the key's business, so no type is guessed here: `1e5`, `0x10` and `on` stay what a
person typed. A mapping's `value` is all of its pairs, also those whose key was there before; an alias
is the very node that it names, which costs nothing however often it is used.
"""

from __future__ import annotations

import re
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

from orchestrator.inventory.problems import Problems, printable

_DEEPEST = 32  # levels; an inventory has five
_STR = Tag(suffix="tag:yaml.org,2002:str")
_NULL = Tag(suffix="tag:yaml.org,2002:null")
_MERGE = Tag(suffix="tag:yaml.org,2002:merge")
_PLAIN = dict.fromkeys(("", "~", "null", "Null", "NULL"), _NULL) | {"<<": _MERGE}
# They are let pass, not obeyed: a key says what it takes. Only !!str has a meaning: no null, no merge.
_KINDS = ("str", "int", "float", "bool", "null", "seq", "map")
_TAGS = (None, "!", *(f"tag:yaml.org,2002:{kind}" for kind in _KINDS))

_INDENT = (
    "this line does not continue what is above it: indent it as far as the lines that it belongs to"
)
# The parser's words (context, problem) -> what a person most likely has to change; {line} is where the
# thing began that is not right.
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
        r"while parsing a block (collection|mapping), .*": _INDENT,
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
    """The text is no YAML that serves as an inventory; the one problem has been noted."""


def compose(text: str, problems: Problems) -> Node | None:
    """Return the root node of `text`, None for an empty one. Raises NotYaml after noting why."""
    # pure: the C parser has other messages, and is not always there.
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer, yaml.Resolver = _Composer, _Resolver
    composer = yaml.composer
    try:
        root: Node | None = yaml.compose(text.removeprefix("\ufeff"))
    except _Refused as refusal:
        line, column, message = refusal.args
    except MarkedYAMLError as error:
        mark: Any = error.problem_mark or error.context_mark
        line, column = mark.line + 1, mark.column + 1
        message = (
            "expected one document; a second one starts here"
            if isinstance(error, ComposerError)
            else f"not valid YAML: {_explained(error)}"
        )
    except ReaderError as error:
        before = text[: error.position].split("\n")
        line, column = len(before), len(before[-1]) + 1
        message = f"expected text, not the control character {chr(error.character)!r}"
    except (ValueError, OverflowError):
        # Of chr() and int(), which the parser hands escapes and version numbers unlooked at.
        line, column = composer.place
        message = (
            "not valid YAML after this: an escape that is no character (the last is \\U0010FFFF), or a "
            "version that is no number"
        )
    else:
        return root
    problems.add(line, column, "", message)
    raise NotYaml


def place(node: Node) -> tuple[int, int]:
    """Return the line and the column where `node` starts, both from 1."""
    return node.start_mark.line + 1, node.start_mark.column + 1


def is_null(node: Node) -> bool:
    """Tell whether nothing stands there."""
    return node.ctag is _NULL


def is_merge(node: Node) -> bool:
    """Tell whether this key is `<<`: take over what another mapping has."""
    return node.ctag is _MERGE


def scalar(text: str, at: Node) -> ScalarNode:
    """Return `text` as if it had been written in quotes at the place of `at`."""
    return ScalarNode(_STR, text, at.start_mark, at.end_mark)


def _explained(error: Any) -> str:
    """Return what a person has to change, and the parser's own words where that is not known."""
    words = ", ".join(printable(part) for part in (error.context, error.problem) if part)
    began = error.context_mark or error.problem_mark
    for pattern, meaning in _FAULTS.items():
        if pattern.fullmatch(words):
            return meaning.format(line=began.line + 1)
    return words


class _Refused(Exception):
    """Valid YAML that no inventory needs: args are line, column, message."""


class _Resolver(VersionedResolver):
    """Tells `null` and `<<` from text, when they stand without quotes, and nothing else."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Tag:
        if kind is ScalarNode:
            return _PLAIN.get(value, _STR) if implicit[0] else _STR
        tag: Tag = super().resolve(kind, value, implicit)
        return tag


class _Composer(Composer):
    """ruamel's own, within bounds, and with messages for a person."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader)
        self.warn_double_anchors = False  # the later one counts from there on, as YAML has it
        self.place = (1, 1)  # of the latest node
        self._levels = 0

    @cached_property
    def parser(
        self,
    ) -> Any:  # ruamel looks both up anew for every node, which is a fifth of the time
        return self.loader.parser

    @cached_property
    def resolver(self) -> Any:
        return self.loader.resolver

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.parser.peek_event()
        self.place = line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if isinstance(event, AliasEvent):
            if event.anchor not in self.anchors:
                alias = printable(event.anchor)
                raise _Refused(line, column, f"*{alias} has no anchor &{alias} above it")
        elif event.tag not in _TAGS:
            raise _Refused(line, column, f"tags have no meaning here: {printable(event.tag)}")
        if self._levels >= _DEEPEST and isinstance(event, CollectionStartEvent):
            raise _Refused(line, column, f"nested more than {_DEEPEST} levels deep")
        self._levels += 1
        node = super().compose_node(parent, index)
        self._levels -= 1
        return node

    def compose_scalar_node(self, anchor: Any) -> Any:
        node = super().compose_scalar_node(anchor)
        if not node.value.isascii():
            # JSON, which is YAML, escapes one character as a surrogate pair.
            joined = node.value.encode("utf-16", "surrogatepass")
            node.value = joined.decode("utf-16", "surrogatepass")
        return node
