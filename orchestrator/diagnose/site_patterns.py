"""Check that the regular expressions of a site's signatures cannot take long, whatever the line.

A search cannot have a time limit wherever logs are diagnosed: Python handles the signal of a timer on the
main thread only, and the verdict of a run is made in any thread of its controller. So the cost of a pattern
is estimated from its structure when it is read. The estimate errs on the high side; a pattern that may
backtrack too much is refused with advice on how to write it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from math import ceil, inf
from re import _constants as ops  # type: ignore[attr-defined]  # undocumented, but there is no other way
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

from orchestrator.diagnose.label import MAX_TEXT
from orchestrator.diagnose.table import literals

MAX_PATTERN = 1000
"""How many characters a pattern may have."""
MIN_LITERAL = 3
"""How many characters of plain text a pattern needs: lines without it are not searched."""
MAX_STEPS = 32 * MAX_TEXT
"""How many steps a match may take from one position of a line, to succeed or fail: as with one `.*`."""
MAX_DEPTH = 8
"""How deep groups and repeats may be nested: each level of repeats doubles the time of the estimate."""

_NUMBERED = re.compile(r"(?<!\\)(?:\\\\){0,500}\\[xuUN0-9]")
_ADVICE = (
    "it may take very long on some lines: write \\S{1,99} in place of one .*, (?>.*?word) in place of "
    "another .*word, and no repeat in a repeat, as in (a+)+"
)

Item = tuple[Any, Any]
Chars = frozenset[str]

# One character of each class stands for all that are not ASCII: digits, spaces, letters, others.
_SAMPLES = "\u0663\u00a0\u00e9\u00d7"
_ALL: Chars = frozenset(map(chr, range(128))) | frozenset(_SAMPLES)
_NOTHING: Chars = frozenset()
_CATEGORIES = {
    ops.CATEGORY_DIGIT: r"\d",
    ops.CATEGORY_NOT_DIGIT: r"\D",
    ops.CATEGORY_SPACE: r"\s",
    ops.CATEGORY_NOT_SPACE: r"\S",
    ops.CATEGORY_WORD: r"\w",
    ops.CATEGORY_NOT_WORD: r"\W",
}
_BACKTRACKING_REPEATS = (ops.MAX_REPEAT, ops.MIN_REPEAT)
_REPEATS = (*_BACKTRACKING_REPEATS, ops.POSSESSIVE_REPEAT)
_ASSERTIONS = (ops.ASSERT, ops.ASSERT_NOT)
_ONE_CHARACTER = (ops.LITERAL, ops.NOT_LITERAL, ops.ANY, ops.IN)
_MAX_ITERATIONS = 24  # of a body that can match in two ways: 2**24 is beyond every limit


def checked(text: str) -> re.Pattern[str]:
    """Compile the pattern. Raises ValueError, which says why a signature cannot have it."""
    if len(text) > MAX_PATTERN:
        raise ValueError(f"it has {len(text):,} characters, the limit is {MAX_PATTERN:,}")
    compiled = _compiled(text)
    tree = parser.parse(text)
    items = list(_every(tree))
    if any(depth == MAX_DEPTH and _bodies(op, value) for depth, op, value in items):
        raise ValueError(f"its groups and repeats are nested more than {MAX_DEPTH} deep")
    if _NUMBERED.search(text):
        raise ValueError("it has a character by its number, as \\x41; write the character itself")
    has_flags = any(op is ops.SUBPATTERN and (value[1] or value[2]) for _, op, value in items)
    if compiled.flags != re.UNICODE or "(?#" in text or has_flags:
        raise ValueError("it has a flag, such as (?i), or a comment; write [Ee]rror")
    if any(op in (ops.GROUPREF, ops.GROUPREF_EXISTS) for _, op, _ in items):
        raise ValueError("it refers to a group of its own; write what the group matches")
    if max(map(len, literals(text)), default=0) < MIN_LITERAL:
        raise ValueError(
            f"it has no plain text of {MIN_LITERAL} characters outside of groups, by which lines are found"
        )
    _sequence(tree, _Cost(1, 0, _ALL), _NOTHING)
    return compiled


def _compiled(text: str) -> re.Pattern[str]:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            compiled = re.compile(text)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"it is not a regular expression: {error}") from None
    if warned:
        raise ValueError(f"its meaning may change: {warned[0].message}")
    return compiled


def _every(items: Iterable[Item], depth: int = 0) -> Iterator[tuple[int, Any, Any]]:
    """Yield every item of a tree with its depth, as (depth, op, value)."""
    for op, value in items:
        yield depth, op, value
        for body in _bodies(op, value):
            yield from _every(body, depth + 1)


def _bodies(op: Any, value: Any) -> Sequence[Sequence[Item]]:
    """Return the sequences that an item consists of."""
    if op is ops.BRANCH:
        branches: Sequence[Sequence[Item]] = value[1]
        return branches
    if op is ops.ATOMIC_GROUP:
        return [value]
    is_group = op is ops.SUBPATTERN or op in (*_REPEATS, *_ASSERTIONS)
    return [value[-1]] if is_group else []


# -- in how many ways, and steps --------------------------------------------------------------------


class _Cost(NamedTuple):
    """The number of `ways` to divide the text so far, the `steps` to try them all, and the characters
    that may come last (`before`).
    """

    ways: float
    steps: float
    before: Chars


def _sequence(items: Sequence[Item], cost: _Cost, after: Chars) -> _Cost:
    """Return the cost after the items; `after` are the characters with which the rest may start.

    At the end of the pattern there are none: the first way to get there is the last. Raises ValueError
    if the cost is too high.
    """
    follows = []
    for op, value in reversed(items):
        follows.append(after)
        chars, is_optional = _first_of(op, value)
        after = chars | after if is_optional else chars
    was_plain = False
    for (op, value), follow in zip(items, reversed(follows), strict=True):
        is_plain = op in _ONE_CHARACTER
        if is_plain:  # plain text is a single step
            steps = cost.steps + (0 if was_plain else cost.ways)
            cost = _Cost(cost.ways, steps, _characters(op, value))
        else:
            cost = _item(op, value, cost, follow)
        if max(cost.ways, cost.steps) > MAX_STEPS:
            raise ValueError(_ADVICE)
        was_plain = is_plain
    return cost


def _item(op: Any, value: Any, cost: _Cost, after: Chars) -> _Cost:
    if op is ops.SUBPATTERN:
        return _sequence(value[3], cost, after)
    if op is ops.BRANCH:
        return _branch(value[1], cost, after)
    if op in _BACKTRACKING_REPEATS:
        return _repeat(value, cost, after)
    # The rest is not tried again in another way.
    if op is ops.POSSESSIVE_REPEAT:
        return _repeat(value, cost, _NOTHING)._replace(ways=cost.ways)
    if op is ops.ATOMIC_GROUP:
        return _sequence(value, cost, _NOTHING)._replace(ways=cost.ways)
    if op in _ASSERTIONS:
        return cost._replace(steps=_sequence(value[1], cost, _NOTHING).steps)
    return cost


def _branch(branches: Sequence[Sequence[Item]], cost: _Cost, after: Chars) -> _Cost:
    """Return the cost of branches; at most one matches if they start with different characters."""
    ends = [_sequence(branch, _Cost(cost.ways, 0, cost.before), after) for branch in branches]
    starts = [chars | after if empty else chars for chars, empty in map(_first, branches)]
    are_exclusive = len(_NOTHING.union(*starts)) == sum(map(len, starts))
    ways = [end.ways for end in ends]
    return _Cost(
        max(ways) if are_exclusive else sum(ways),
        cost.steps + sum(end.steps for end in ends),
        _NOTHING.union(*(end.before for end in ends)),
    )


def _repeat(value: tuple[int, int, Sequence[Item]], cost: _Cost, after: Chars) -> _Cost:
    """Return the cost of a repeat, which has one end only if the rest cannot start with what it repeats.

    It runs over all of its text from every start. It does so once in total if it follows a character that
    it does not match.
    """
    least, most, body = value
    first, _ = _first(body)
    most = min(most, MAX_TEXT)
    ends = most - min(least, most) + 1
    once = _sequence(body, _Cost(1, 0, _ALL), after | first)
    before = cost.before | once.before
    if once.ways > 1:
        many = once.ways ** (most + 1) if most < _MAX_ITERATIONS else inf
        return _Cost(cost.ways * many, cost.steps + cost.ways * many * once.steps, before)
    is_run = len(body) == 1 and body[0][0] in _ONE_CHARACTER
    entered = cost.ways * most
    if is_run and not cost.before & first:
        entered = min(entered, cost.ways + MAX_TEXT * ceil(cost.ways / MAX_TEXT))
    tried = entered
    if not is_run:
        tried = _sequence(body, _Cost(entered, 0, before), after | first).steps
    ways = cost.ways * ends if first & after else cost.ways
    return _Cost(ways, cost.steps + tried + ways, before)


# -- what a match may start with --------------------------------------------------------------------


def _first(items: Iterable[Item]) -> tuple[Chars, bool]:
    """Return the characters with which a match may start, and whether it may be empty."""
    chars = _NOTHING
    for op, value in items:
        more, is_optional = _first_of(op, value)
        chars |= more
        if not is_optional:
            return chars, False
    return chars, True


def _first_of(op: Any, value: Any) -> tuple[Chars, bool]:
    if op in _ONE_CHARACTER:
        return _characters(op, value), False
    if op in _ASSERTIONS:
        return _NOTHING, True
    starts = [_first(body) for body in _bodies(op, value)]  # none for a boundary or the end
    is_optional = any(empty for _, empty in starts) or not starts
    return (
        _NOTHING.union(*(chars for chars, _ in starts)),
        is_optional or (op in _REPEATS and value[0] == 0),
    )


def _characters(op: Any, value: Any) -> Chars:
    """Return the characters of a class; those that are not ASCII as the samples that stand for them."""
    if op is ops.LITERAL:
        return _sample(value)
    if op is not ops.IN:
        return _ALL - {chr(value)} if op is ops.NOT_LITERAL and value < 128 else _ALL
    whole, parts, is_negated = set[str](), set[str](), False
    for kind, member in value:
        if kind is ops.NEGATE:
            is_negated = True
        elif kind is ops.CATEGORY:
            whole |= _category(member)
        else:
            low, high = member if kind is ops.RANGE else (member, member)
            whole |= {chr(code) for code in range(low, min(high, 127) + 1)}
            parts |= _sample(high) if low == high else frozenset(_SAMPLES if high > 127 else "")
    return _ALL - whole if is_negated else frozenset(whole | parts)


def _sample(code: int) -> Chars:
    """Return the character, or the one that stands for all of its class."""
    if code < 128:
        return frozenset(chr(code))
    kinds = [re.match(r"(\d)|(\s)|(\w)|", each) for each in (chr(code), *_SAMPLES)]
    own, *others = (kind.lastindex if kind else None for kind in kinds)
    return frozenset(sample for sample, other in zip(_SAMPLES, others, strict=True) if other == own)


@cache
def _category(name: Any) -> Chars:
    return frozenset(char for char in _ALL if re.match(_CATEGORIES[name], char))
