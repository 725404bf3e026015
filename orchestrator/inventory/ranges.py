"""Host range expressions: `node[0-3,7],gpu-a` is five names, `rack[1-2]n[01-16]` thirty-two.

ClusterShell reads the numbers (steps as `0-8/2`, padding kept). Two things are ours: names come
in the order they are written in, since that order is the node rank and pairs a name with its
address; and nothing is expanded before it has been counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import product
from math import prod

from orchestrator.inventory.values import LONGEST_NAME

MOST_HOSTS = 10_000

# A word ends at a comma outside brackets.
_WORD = re.compile(r"(?:\[[^\[\]]*\]|[^,])+")
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
# 18 digits are within int's reach for certain, and leave room for dates and serial numbers.
_NUMBERS = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18})(?:/([0-9]{1,9}))?)?")


def expand(expression: str, most: int = MOST_HOSTS) -> list[str]:
    """Return the names that `expression` stands for, as written: in order, repetitions included.

    Raises ValueError when it is malformed or stands for more than `most` names.
    """
    names: list[str] = []
    for word in words_of(expression):
        names += _expand_word(word, most - len(names))
    return names


def words_of(expression: str) -> list[str]:
    """Return the words between the commas, brackets as they stand."""
    return [word for word in map(str.strip, _WORD.findall(expression)) if word]


def fold(names: Iterable[str]) -> str:
    """Return one expression for `names`, sorted and each once: `gpu-a,node[0-3]`."""
    # Imported here, where it is needed: 20 ms that every launch would pay for.
    from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet

    return str(NodeSet.fromlist(list(names), resolver=RESOLVER_NOGROUP))


def _expand_word(word: str, most: int) -> Iterator[str]:
    # Text and the insides of brackets take turns.
    pieces = _BRACKETS.split(word)
    literals, brackets = pieces[::2], [inside.split(",") for inside in pieces[1::2]]
    if any("[" in literal or "]" in literal for literal in literals):
        raise ValueError("expected a closing bracket for each opening one, as in node[0-3]")
    if sum(map(len, literals)) > LONGEST_NAME:
        raise ValueError(f"expected names of at most {LONGEST_NAME} characters")
    if any(":" in part for parts in brackets for part in parts):
        raise ValueError("expected numbers in the brackets; IPv6 addresses stand without brackets")
    if prod(sum(map(_count, parts)) for parts in brackets) > most:
        raise ValueError(f"expected at most {MOST_HOSTS:,} hosts")
    choices = [
        [number for part in parts for number in _numbers(part.strip())] for parts in brackets
    ]
    for numbers in product(*choices):
        yield literals[0] + "".join(map("".join, zip(numbers, literals[1:], strict=True)))


def _count(part: str) -> int:
    """How many numbers `8`, `0-3` or `0-8/2` stands for."""
    match = _NUMBERS.fullmatch(part.strip())
    if match is None:
        raise ValueError("expected numbers and ranges in the brackets, as in node[0-3,7]")
    first, last, step = match.groups()
    if last is None:
        return 1
    if int(last) < int(first) or int(step or 1) == 0:
        raise ValueError("expected ranges to count upwards, as in node[0-3] or node[0-8/2]")
    return (int(last) - int(first)) // int(step or 1) + 1


def _numbers(part: str) -> Iterator[str]:
    # Imported here: most inventories have no bracket, and every launch would pay for it.
    from ClusterShell.RangeSet import RangeSet, RangeSetParseError

    try:
        yield from RangeSet(part).striter()
    except RangeSetParseError:
        # Syntax and direction have been checked; what is left is [01-100].
        raise ValueError(
            "expected both ends of a range in the same width, as in node[001-100]"
        ) from None
