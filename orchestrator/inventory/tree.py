"""YAML as a tree of texts with places: every scalar as it was written, and where.

What a key takes is the key's business, so nothing is guessed here about types: `1e5`, `0x10` and
`on` stay what a person typed. Aliases are shared nodes, which costs nothing however often they are
used. The tree is built from ruamel.yaml's events, because no loader keeps the source text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from orchestrator.inventory.problems import Problems, printable

if TYPE_CHECKING:
    from ruamel.yaml.events import Event

_DEEPEST = 32  # levels; an inventory has five
_NULL = ("", "~", "null", "Null", "NULL")
# What !!str and the like stand for. They are let pass, not obeyed, but for !!str: no merge, no null.
_CORE = ("str", "int", "float", "bool", "null", "seq", "map")
_TAGS = ("!", *(f"tag:yaml.org,2002:{kind}" for kind in _CORE))


@dataclass(eq=False)
class Scalar:
    """One value. `plain`: without quotes, so that it may stand for nothing, or be a merge key."""

    line: int
    column: int
    text: str
    plain: bool

    @property
    def is_null(self) -> bool:
        """Whether nothing stands here."""
        return self.plain and self.text in _NULL

    @property
    def is_merge(self) -> bool:
        """Whether this key is `<<`: take over what another mapping has."""
        return self.plain and self.text == "<<"


@dataclass(eq=False)
class Listing:
    """A YAML sequence."""

    line: int
    column: int
    is_null: ClassVar[bool] = False
    items: list[Node] = field(default_factory=list)


@dataclass(eq=False)
class Table:
    """A YAML mapping, with every pair that was written: keys may be of any kind, and repeat."""

    line: int
    column: int
    is_null: ClassVar[bool] = False
    pairs: list[tuple[Node, Node]] = field(default_factory=list)


Node = Scalar | Listing | Table


class NotYaml(Exception):
    """The text is no YAML that serves as an inventory; the one problem has been noted."""


def compose(text: str, problems: Problems) -> Node | None:
    """Return the tree of `text`, None for an empty one. Raises NotYaml after noting why."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError
    from ruamel.yaml.reader import ReaderError

    composer = _Composer()
    try:
        # pure: the C parser has other messages, and is not always there.
        for event in YAML(typ="safe", pure=True).parse(text.removeprefix("\ufeff")):
            composer.take(event)
    except _Refused as refusal:
        line, column, message = refusal.args
    except MarkedYAMLError as error:
        mark: Any = error.problem_mark or error.context_mark
        line, column = mark.line + 1, mark.column + 1
        message = f"not valid YAML: {_explained(error)}"
    except ReaderError as error:
        before = text[: error.position].split("\n")
        line, column = len(before), len(before[-1]) + 1
        message = f"expected text, not the control character {chr(error.character)!r}"
    except ValueError as error:
        # Of chr() and int(), which the parser hands escapes and version numbers unlooked at.
        line, column = composer.line, composer.column
        message = f"not valid YAML after this: {printable(str(error))}"
    else:
        return composer.root
    problems.add(line, column, "", message)
    raise NotYaml


def _explained(error: Any) -> str:
    """The parser's own words, and what a person most likely has to change."""
    words = ", ".join(printable(part) for part in (error.context, error.problem) if part)
    if "'\\t'" in words:
        return f"{words}; indent with spaces, not with tabs"
    if "flow" in words and "got '['" in words:
        return f'{words}; within {{}} and [] a name with a range needs quotes: "node[0-3]"'
    return words


def _joined(text: str) -> str:
    """`text` with surrogate pairs joined: JSON, which is YAML, escapes one character as two."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


class _Refused(Exception):
    """Valid YAML that no inventory needs: args are line, column, message."""


class _Composer:
    """Builds the tree from the parser's events, without recursion."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self.line = self.column = 1  # of the latest event
        self._open: list[Listing | Table] = []
        self._keys: list[Node | None] = []  # of each open collection: a key without its value yet
        self._anchors: dict[str, Node] = {}

    def take(self, event: Event) -> None:
        from ruamel.yaml import events

        self.line = line = event.start_mark.line + 1
        self.column = column = event.start_mark.column + 1
        node: Node
        if isinstance(event, events.AliasEvent):
            if event.anchor not in self._anchors:
                alias = printable(event.anchor)
                raise _Refused(line, column, f"*{alias} has no anchor &{alias} above it")
            self._place(self._anchors[event.anchor])
        elif isinstance(event, events.ScalarEvent):
            plain = not event.style and event.tag is None
            node = Scalar(line, column, _joined(event.value), plain)
            self._begin(node, event)
        elif isinstance(event, events.SequenceStartEvent):
            node = Listing(line, column)
            self._begin(node, event)
            self._enter(node)
        elif isinstance(event, events.MappingStartEvent):
            node = Table(line, column)
            self._begin(node, event)
            self._enter(node)
        elif isinstance(event, events.CollectionEndEvent):
            self._open.pop()
            self._keys.pop()
        elif isinstance(event, events.DocumentStartEvent) and self.root is not None:
            raise _Refused(line, column, "expected one document; a second one starts here")

    def _begin(self, node: Node, event: Any) -> None:
        tag = event.tag
        if tag is not None and tag not in _TAGS:
            raise _Refused(node.line, node.column, f"tags have no meaning here: {printable(tag)}")
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        self._place(node)

    def _enter(self, node: Listing | Table) -> None:
        self._open.append(node)
        self._keys.append(None)
        if len(self._open) > _DEEPEST:
            raise _Refused(node.line, node.column, f"nested more than {_DEEPEST} levels deep")

    def _place(self, node: Node) -> None:
        if not self._open:
            self.root = node
            return
        parent, key = self._open[-1], self._keys[-1]
        if isinstance(parent, Listing):
            parent.items.append(node)
        elif key is None:
            self._keys[-1] = node
        else:
            parent.pairs.append((key, node))
            self._keys[-1] = None
