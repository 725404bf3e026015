"""Which regular expressions a site's signature may have: those that cannot take long, whatever a line says.

A search cannot be given a limit of time everywhere that logs are diagnosed: Python handles the signal of a
timer on the main thread only, and a run's verdict is made wherever its controller runs. So what a pattern
may cost is estimated from its structure, once, when it is read. In doubt the estimate is too high; a
pattern that may backtrack too much is refused with what to write instead.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from functools import cache
from math import ceil, inf
from re import _constants as ops  # type: ignore[attr-defined]  # not documented, as there is no other
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

from orchestrator.diagnose.label import MAX_TEXT
from orchestrator.diagnose.table import literals

LONGEST = 1000
"""So many characters a pattern may have."""
SHORTEST_LITERAL = 3
"""So many characters of plain text a pattern must have: lines without it are not searched."""
MOST_STEPS = 32 * MAX_TEXT
"""So many steps a match may take from one place of a line, to succeed or fail: as with one `.*`."""

_NUMBERED = re.compile(r"(?<!\\)(?:\\\\){0,500}\\[xuUN0-9]")
_ADVICE = (
    "it may take very long on some lines: write \\S{1,99} in place of one .*, (?>.*?word) in place of "
    "another .*word, and no repeat in a repeat, as in (a+)+"
)

DEEPEST = 8
"""So deep groups and repeats may be nested."""

Item = tuple[Any, Any]
Chars = frozenset[str]

# Of what is not ASCII, one of each class: digits, spaces, letters, others.
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
_GREEDY_OR_LAZY = (ops.MAX_REPEAT, ops.MIN_REPEAT)
_ONE_CHARACTER = (ops.LITERAL, ops.NOT_LITERAL, ops.ANY, ops.IN)
_MANY = 24  # iterations of a body that can match in two ways: 2**24 is beyond every limit


def checked(text: str) -> re.Pattern[str]:
    """Return the pattern compiled. Raises ValueError, which says why it cannot be a signature's."""
    if len(text) > LONGEST:
        raise ValueError(f"it has {len(text):,} characters, the most are {LONGEST:,}")
    compiled = _compiled(text)
    tree = parser.parse(text)
    if _is_deeper(tree, DEEPEST):
        raise ValueError(f"its groups and repeats are nested more than {DEEPEST} deep")
    if _NUMBERED.search(text):
        raise ValueError("it has a character by its number, as \\x41; write the character itself")
    if compiled.flags != re.UNICODE or "(?#" in text or _has_flags(tree):
        raise ValueError("it has a flag, such as (?i), or a comment; write [Ee]rror")
    if any(op in (ops.GROUPREF, ops.GROUPREF_EXISTS) for op, _ in _every(tree)):
        raise ValueError("it refers to a group of its own; write what the group matches")
    if max(map(len, literals(text)), default=0) < SHORTEST_LITERAL:
        raise ValueError(
            f"it has no plain text of {SHORTEST_LITERAL} characters outside of groups, by which lines are "
            "found"
        )
    _sequence(list(tree), _Cost(1, 0, _ALL), _NOTHING)
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


def _is_deeper(items: Iterable[Item], most: int) -> bool:
    """Whether groups and repeats are nested deeper: each level of repeats doubles the time to measure."""
    return any(
        most == 0 or _is_deeper(body, most - 1)
        for op, value in items
        for body in _bodies(op, value)
    )


def _every(items: Iterable[Item]) -> Iterable[Item]:
    """Yield every item of a tree, on whatever level."""
    for op, value in items:
        yield op, value
        for body in _bodies(op, value):
            yield from _every(body)


def _bodies(op: Any, value: Any) -> Sequence[Sequence[Item]]:
    """Return the sequences that an item is made of."""
    if op is ops.BRANCH:
        return list(value[1])
    if op is ops.ATOMIC_GROUP:
        return [value]
    if op is ops.SUBPATTERN or op in (*_GREEDY_OR_LAZY, ops.POSSESSIVE_REPEAT):
        return [value[-1]]
    return [value[1]] if op in (ops.ASSERT, ops.ASSERT_NOT) else []


def _has_flags(tree: Iterable[Item]) -> bool:
    return any(op is ops.SUBPATTERN and (value[1] or value[2]) for op, value in _every(tree))


# -- in how many ways, and steps --------------------------------------------------------------------


class _Cost(NamedTuple):
    """`ways` in which a text may have been divided up to here, the `steps` to try them all, and `before`,
    the characters that may have come last.
    """

    ways: float
    steps: float
    before: Chars


def _sequence(items: Sequence[Item], cost: _Cost, after: Chars) -> _Cost:
    """Return the cost behind the items; `after` are the characters with which what follows may begin.

    At the end of all there are none: there the first way is the last. Raises ValueError for too much.
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
        if max(cost.ways, cost.steps) > MOST_STEPS:
            raise ValueError(_ADVICE)
        was_plain = is_plain
    return cost


def _item(op: Any, value: Any, cost: _Cost, after: Chars) -> _Cost:
    if op is ops.SUBPATTERN:
        return _sequence(list(value[3]), cost, after)
    if op is ops.BRANCH:
        return _branch([list(branch) for branch in value[1]], cost, after)
    if op in _GREEDY_OR_LAZY:
        return _repeat(int(value[0]), int(value[1]), list(value[2]), cost, after)
    if op is ops.POSSESSIVE_REPEAT:
        tried = _repeat(int(value[0]), int(value[1]), list(value[2]), cost, _NOTHING)
        return _Cost(cost.ways, tried.steps, tried.before)
    if op is ops.ATOMIC_GROUP:
        tried = _sequence(list(value), cost, _NOTHING)
        return _Cost(cost.ways, tried.steps, tried.before)
    if op in (ops.ASSERT, ops.ASSERT_NOT):
        return _Cost(cost.ways, _sequence(list(value[1]), cost, _NOTHING).steps, cost.before)
    return cost


def _branch(branches: Sequence[Sequence[Item]], cost: _Cost, after: Chars) -> _Cost:
    """Of branches that begin with different characters one fits at most."""
    ends = [_sequence(branch, _Cost(cost.ways, 0, cost.before), after) for branch in branches]
    starts = [chars | after if empty else chars for chars, empty in map(_first, branches)]
    are_apart = len(_NOTHING.union(*starts)) == sum(map(len, starts))
    ways = [end.ways for end in ends]
    return _Cost(
        max(ways) if are_apart else sum(ways),
        cost.steps + sum(end.steps for end in ends),
        _NOTHING.union(*(end.before for end in ends)),
    )


def _repeat(least: int, most: int, body: Sequence[Item], cost: _Cost, after: Chars) -> _Cost:
    """A repeat can end in one place only where what follows cannot begin with what it repeats.

    Wherever it begins, it goes over the whole of its text: once in all, if that begins behind a character
    of which it has none.
    """
    first, _ = _first(body)
    most = min(most, MAX_TEXT)
    ends = most - min(least, most) + 1
    once = _sequence(body, _Cost(1, 0, _ALL), after | first)
    before = cost.before | once.before
    if once.ways > 1:
        many = once.ways ** (most + 1) if most < _MANY else inf
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


# -- what a match may begin with --------------------------------------------------------------------


def _first(items: Iterable[Item]) -> tuple[Chars, bool]:
    """Return with what characters a match may begin, and whether it may be empty."""
    chars: Chars = frozenset()
    for op, value in items:
        more, is_optional = _first_of(op, value)
        chars |= more
        if not is_optional:
            return chars, False
    return chars, True


def _first_of(op: Any, value: Any) -> tuple[Chars, bool]:
    if op in _ONE_CHARACTER:
        return _characters(op, value), False
    if op is ops.SUBPATTERN:
        return _first(value[3])
    if op is ops.ATOMIC_GROUP:
        return _first(value)
    if op in (*_GREEDY_OR_LAZY, ops.POSSESSIVE_REPEAT):
        chars, is_optional = _first(value[2])
        return chars, is_optional or value[0] == 0
    if op is ops.BRANCH:
        starts = [_first(branch) for branch in value[1]]
        return frozenset().union(*(chars for chars, _ in starts)), any(empty for _, empty in starts)
    return frozenset(), True  # an assertion, a boundary, the end


def _characters(op: Any, value: Any) -> Chars:
    """Return the characters of a class; of those that are not ASCII, the samples that stand for them."""
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
    """Return the character, or that which stands for all of its class."""
    if code < 128:
        return frozenset(chr(code))
    kinds = [re.match(r"(\d)|(\s)|(\w)|", each) for each in (chr(code), *_SAMPLES)]
    own, *others = (kind.lastindex if kind else None for kind in kinds)
    return frozenset(sample for sample, other in zip(_SAMPLES, others, strict=True) if other == own)


@cache
def _category(name: Any) -> Chars:
    return frozenset(char for char in _ALL if re.match(_CATEGORIES[name], char))
