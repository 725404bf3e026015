"""Hosts as a user writes them: ranges such as `node[0-3,7],gpu-a`, and `[user@]host[:port]`.

ClusterShell parses the numbers (steps as in `0-8/2`, padding kept). orch differs in two ways: names stay in
the order in which they are written, which sets the node ranks and pairs names with addresses; and names
are counted before they are expanded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from math import prod

from orchestrator.inventory.values import MAX_NAME

MAX_HOSTS = 10_000

_PART = re.compile(r"(?:\[[^\[\]]*\]|[^,])+")  # up to a comma outside brackets
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
# 18 digits fit a C long and are enough for dates and serial numbers.
_NUMBERS = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18})(?:/([0-9]{1,9}))?)?")
# Brackets hold ranges, or an IPv6 address that has a port.
_HOST = re.compile(
    r"((?P<user>[^@]*)@)?"
    r"(\[(?P<bracketed>[^\[\]]*:[^\[\]]*)\]|(?P<ipv6>[^\[\]:]*+:[^\[\]:]*+:[^\[\]]*+)|(?P<host>[^:]*))"
    r"(:(?P<port>[^:]*))?"
)


@dataclass(frozen=True)
class HostSpec:
    """The parts of `[user@]host[:port]`, unchecked.

    With `is_address`, `host` is an IPv6 address, which cannot be a node's name.
    """

    host: str
    user: str | None
    port: str | None
    is_address: bool

    @classmethod
    def parse(cls, text: str) -> HostSpec:
        """Return the parts. Raises ValueError for text of another form."""
        match = _HOST.fullmatch(text)
        if match is None:
            raise ValueError("expected a host, as in node0 or user@node0:2222")
        address = match["bracketed"] or match["ipv6"]
        return cls(address or match["host"] or "", match["user"], match["port"], bool(address))

    @property
    def settings(self) -> dict[str, str]:
        """Return user and port, where given, under the keys of an inventory."""
        given = {"user": self.user, "port": self.port}
        return {key: value for key, value in given.items() if value is not None}


def expand(expression: str, limit: int = MAX_HOSTS) -> list[str]:
    """Return the names that `expression` stands for, in the order written, with repetitions.

    Raises ValueError if it is malformed or stands for more than `limit` names.
    """
    names: list[str] = []
    for part in split_expression(expression):
        names += _expand_part(part, limit - len(names))
    return names


def split_expression(expression: str) -> list[str]:
    """Split at commas outside brackets."""
    return [part for part in map(str.strip, _PART.findall(expression)) if part]


def fold(names: Iterable[str]) -> str:
    """Return one expression for `names`, sorted and without repetitions: `gpu-a,node[0-3]`."""
    # Imported here: it takes 20 ms, and a launch without failures does not need it.
    from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet

    return str(NodeSet.fromlist(list(names), resolver=RESOLVER_NOGROUP))


def _expand_part(part: str, limit: int) -> Iterator[str]:
    pieces = _BRACKETS.split(part)  # text, inside of brackets, text, ...
    literals, brackets = pieces[::2], [inside.split(",") for inside in pieces[1::2]]
    if any("[" in literal or "]" in literal for literal in literals):
        raise ValueError("expected a closing bracket for each opening one, as in node[0-3]")
    if sum(map(len, literals)) > MAX_NAME:
        raise ValueError(f"expected names of at most {MAX_NAME} characters")
    if any(":" in inside for inside in pieces[1::2]):
        raise ValueError("expected numbers in the brackets; IPv6 addresses stand without brackets")
    if prod(sum(map(_count, ranges)) for ranges in brackets) > limit:
        raise ValueError(f"expected at most {MAX_HOSTS:,} hosts")
    choices = [[number for each in ranges for number in _numbers(each)] for ranges in brackets]
    for numbers in product(*choices):
        yield literals[0] + "".join(map("".join, zip(numbers, literals[1:], strict=True)))


def _count(text: str) -> int:
    """Return how many numbers `8`, `0-3` or `0-8/2` stands for."""
    match = _NUMBERS.fullmatch(text.strip())
    if match is None:
        raise ValueError("expected numbers and ranges in the brackets, as in node[0-3,7]")
    first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
    if last < first or step == 0:
        raise ValueError("expected ranges to count upwards, as in node[0-3] or node[0-8/2]")
    return (last - first) // step + 1


def _numbers(text: str) -> Iterator[str]:
    # Imported here: most inventories have no brackets.
    from ClusterShell.RangeSet import RangeSet, RangeSetParseError

    try:
        yield from RangeSet(text.strip()).striter()
    except RangeSetParseError:
        # Syntax and direction have been checked; what remains is [01-100].
        raise ValueError(
            "expected both ends of a range in the same width, as in node[001-100]"
        ) from None
