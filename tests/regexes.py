"""The cost of regular expressions: by their structure, and on hostile texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

Item = tuple[Any, Any]
Chars = frozenset[str]

_ALL: Chars = frozenset(map(chr, range(128))) | frozenset("é│…×\u2028\ud800")
_NOTHING: Chars = frozenset()
_WORD: Chars = frozenset(char for char in _ALL if re.match(r"\w", char))
_CATEGORIES = {
    ops.CATEGORY_DIGIT: r"\d",
    ops.CATEGORY_NOT_DIGIT: r"\D",
    ops.CATEGORY_SPACE: r"\s",
    ops.CATEGORY_NOT_SPACE: r"\S",
    ops.CATEGORY_WORD: r"\w",
    ops.CATEGORY_NOT_WORD: r"\W",
}
_MOST_BRANCHES = 3
_LONGEST_SPAN = 4
_REPEATS = (ops.MAX_REPEAT, ops.MIN_REPEAT)


def parsed(pattern: re.Pattern[Any]) -> Sequence[Item]:
    """Return the parse tree."""
    text = pattern.pattern
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    return list(parser.parse(text, pattern.flags & ~re.LOCALE))


# -- structure --------------------------------------------------------------------------------------


def faults(pattern: re.Pattern[Any]) -> list[str]:
    """Return where a pattern may take a time that grows faster than the square of the text.

    An unlimited repeat is open if what follows may start with what it repeats, as in `.*x`: then it may
    have to try many ends. One is acceptable; one in another repeat, or two in a row, are not.
    """
    walk = _Walk()
    open_ones = walk.sequence(parsed(pattern), _NOTHING, nested=False)
    if open_ones > 1:
        walk.faults.append(f"{open_ones} open repeats, one after another")
    return walk.faults


class _Walk:
    def __init__(self) -> None:
        self.faults: list[str] = []

    def sequence(self, items: Sequence[Item], after: Chars, *, nested: bool) -> int:
        """Return among how many open repeats a text may have to be divided."""
        return sum(
            self._item(item, _after(items[at + 1 :], after, item), nested)
            for at, item in enumerate(items)
        )

    def _item(self, item: Item, after: Chars, nested: bool) -> int:
        op, value = item
        if op is ops.SUBPATTERN:
            return self.sequence(value[3], after, nested=nested)
        if op is ops.BRANCH:
            return max(self.sequence(branch, after, nested=nested) for branch in value[1])
        if op in (ops.ASSERT, ops.ASSERT_NOT, ops.ATOMIC_GROUP, ops.POSSESSIVE_REPEAT):
            body = value if op is ops.ATOMIC_GROUP else value[-1]
            if self.sequence(body, _NOTHING, nested=nested) > 1:
                self.faults.append("two open repeats in an assertion or an atomic group")
            return 0
        if op in _REPEATS:
            _, most, body = value
            if most is not ops.MAXREPEAT:
                return self.sequence(body, after | _first(body)[0], nested=nested)
            inner = self.sequence(body, after | _first(body)[0], nested=True)
            if inner:
                self.faults.append("an open repeat within another repeat")
            return int(bool(_first(body)[0] & after))
        return 0


def _after(rest: Sequence[Item], after: Chars, before: Item) -> Chars:
    """Return what may follow an item."""
    chars, is_optional = _first(rest)
    chars = chars | after if is_optional else chars
    is_boundary = bool(rest) and rest[0] == (ops.AT, ops.AT_BOUNDARY)
    if is_boundary and before[0] in _REPEATS and _first(before[1][2])[0] <= _WORD:
        return chars - _WORD
    return chars


def _first(items: Sequence[Item]) -> tuple[Chars, bool]:
    """Return the characters with which a match may start, and whether it may be empty."""
    chars: Chars = _NOTHING
    for op, value in items:
        more, is_optional = _first_of(op, value)
        chars |= more
        if not is_optional:
            return chars, False
    return chars, True


def _first_of(op: Any, value: Any) -> tuple[Chars, bool]:
    if op is ops.LITERAL:
        return frozenset((chr(value), chr(value).swapcase())), False
    if op is ops.NOT_LITERAL:
        return _ALL - {chr(value)}, False
    if op is ops.ANY:
        return _ALL, False
    if op is ops.IN:
        return members(value), False
    if op is ops.SUBPATTERN:
        return _first(value[3])
    if op is ops.ATOMIC_GROUP:
        return _first(value)
    if op in (*_REPEATS, ops.POSSESSIVE_REPEAT):
        chars, is_optional = _first(value[2])
        return chars, is_optional or value[0] == 0
    if op is ops.BRANCH:
        branches = [_first(branch) for branch in value[1]]
        return frozenset().union(*(chars for chars, _ in branches)), any(o for _, o in branches)
    if op is ops.AT and value in (ops.AT_END, ops.AT_END_STRING):
        return _NOTHING, False
    if op is ops.GROUPREF:
        return _ALL, True
    return _NOTHING, True  # an assertion, or a boundary


def members(parts: Iterable[Item]) -> Chars:
    """Return the characters of a class, in either case."""
    chars: set[str] = set()
    negated = False
    for op, value in parts:
        if op is ops.NEGATE:
            negated = True
        elif op is ops.LITERAL:
            chars |= {chr(value), chr(value).swapcase()}
        elif op is ops.RANGE:
            chars |= {char for char in _ALL if value[0] <= ord(char) <= value[1]}
        else:
            chars |= {char for char in _ALL if re.match(_CATEGORIES[value], char)}
    return _ALL - chars if negated else frozenset(chars)


# -- hostile texts ----------------------------------------------------------------------------------


def hostile(pattern: re.Pattern[Any], length: int) -> Iterator[str]:
    """Yield texts of `length` that a pattern almost matches many times: each part of it repeated, after
    what precedes that part, with each of a few characters where any will do.
    """
    tree = parsed(pattern)
    seen: set[str] = set()
    for filler in ("a", "1", " ", ":", "\n", *sorted(_letters(tree))[:2]):
        for choice in range(min(_most_branches(tree), _MOST_BRANCHES)):
            pieces = _joined(_flat(tree), filler, choice)
            for start, end in _spans(len(pieces)):
                part, before = "".join(pieces[start:end]), "".join(pieces[:start])
                if not part:
                    continue
                text = (before + part * (length // len(part) + 1))[:length]
                if text not in seen:
                    seen.add(text)
                    yield text


def _spans(pieces: int) -> Iterator[tuple[int, int]]:
    """Yield every range of a few pieces, and all pieces from each one on."""
    for start in range(pieces):
        for end in range(start + 1, min(start + _LONGEST_SPAN, pieces) + 1):
            yield start, end
        if start + _LONGEST_SPAN < pieces:
            yield start, pieces


def _joined(items: Iterable[Item], filler: str, choice: int) -> list[str]:
    """Return a text for each item; adjacent characters are one piece."""
    pieces: list[str] = []
    was_plain = False
    for item in items:
        is_plain = item[0] is ops.LITERAL
        text = _sample([item], filler, choice)
        if is_plain and was_plain:
            pieces[-1] += text
        else:
            pieces.append(text)
        was_plain = is_plain
    return pieces


def _flat(items: Iterable[Item]) -> Iterator[Item]:
    for op, value in items:
        if op is ops.SUBPATTERN:
            yield from _flat(value[3])
        elif op is ops.ATOMIC_GROUP:
            yield from _flat(value)
        else:
            yield op, value


def _sample(items: Iterable[Item], filler: str, choice: int) -> str:
    """Return a text that the items match, without assertions; `choice` selects a branch."""
    text = ""
    for op, value in items:
        if op is ops.LITERAL:
            text += chr(value)
        elif op is ops.SUBPATTERN:
            text += _sample(value[3], filler, choice)
        elif op is ops.ATOMIC_GROUP:
            text += _sample(value, filler, choice)
        elif op in (*_REPEATS, ops.POSSESSIVE_REPEAT):
            text += _sample(value[2], filler, choice) * max(value[0], 1)
        elif op is ops.BRANCH:
            branches = value[1]
            text += _sample(branches[min(choice, len(branches) - 1)], filler, choice)
        elif op in (ops.ANY, ops.NOT_LITERAL, ops.IN):
            chars = _first_of(op, value)[0]
            text += filler if filler in chars else min(chars, key=_likely)
    return text


def _likely(char: str) -> tuple[bool, str]:
    return not char.isalnum(), char


def _letters(items: Iterable[Item]) -> set[str]:
    """Return the characters that the pattern has literally."""
    found: set[str] = set()
    for op, value in _every(items):
        if op is ops.LITERAL:
            found.add(chr(value))
    return found


def _most_branches(items: Iterable[Item]) -> int:
    return max((len(value[1]) for op, value in _every(items) if op is ops.BRANCH), default=1)


def _every(items: Iterable[Item]) -> Iterator[Item]:
    for op, value in items:
        yield op, value
        if op is ops.SUBPATTERN:
            yield from _every(value[3])
        elif op is ops.ATOMIC_GROUP:
            yield from _every(value)
        elif op in (*_REPEATS, ops.POSSESSIVE_REPEAT):
            yield from _every(value[2])
        elif op is ops.BRANCH:
            for branch in value[1]:
                yield from _every(branch)
        elif op in (ops.ASSERT, ops.ASSERT_NOT):
            yield from _every(value[1])
