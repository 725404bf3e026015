"""Names of hosts as Ansible's inventory files write them: ranges such as `node[01:10]`, and ports."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from itertools import product
from math import prod
from string import ascii_letters
from typing import NamedTuple

from orchestrator.inventory.ranges import MAX_HOSTS
from orchestrator.util.text import quoted

_BRACKETED = re.compile(r"\[(.+)\]:([0-9]{1,9})")
_WITH_PORT = re.compile(r"((?:[^:\[\]]|\[[^\]]*\])*):([0-9]{1,9})")
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
# A range in front of which a port is cut off; others are expanded, with all that follows them.
_PLAIN_RANGE = re.compile(r"\[(?:[a-z]:[a-z]|[0-9]+:[0-9]+)(?::[0-9]+)?\]", re.IGNORECASE)
_HEX_RANGE = re.compile(r"\[[0-9a-f]+:[0-9a-f]+(?::[0-9]+)?\]", re.IGNORECASE)
_LABEL = re.compile(r"\w[\w-]*")
_NUMBER = re.compile(r"[0-9]{1,18}")
_EXPECTED = "expected a range as in node[1:3], node[01:10], node[a:c] or node[1:9:2]"


class Names(NamedTuple):
    """The hosts of one pattern, and the port that follows it; 0 is none."""

    hosts: list[str]
    port: int


def expand_pattern(pattern: str) -> Names:
    """Return the hosts that a key of `hosts`, or the first word of an INI line, stands for.

    Both ends of a range count. Raises ValueError for a malformed range, and for more than 10,000 hosts.
    """
    host, port = _split_port(pattern)
    if "[" not in host:
        return Names([host], port)
    pieces = _BRACKETS.split(host)  # text, inside of brackets, text, ...
    if any("[" in text or "]" in text for text in pieces[::2]):
        raise ValueError(f"{_EXPECTED}; found {quoted(pattern)}")
    try:
        choices = [_choices(inside) for inside in pieces[1::2]]
    except ValueError as error:
        raise ValueError(f"{error}; found {quoted(pattern)}") from None
    if prod(map(len, choices)) > MAX_HOSTS:
        raise ValueError(f"expected at most {MAX_HOSTS:,} hosts; found {quoted(pattern)}")
    return Names(list(_joined(pieces[::2], choices)), port)


def _joined(texts: Sequence[str], choices: Sequence[Sequence[str]]) -> Iterator[str]:
    for chosen in product(*choices):
        yield texts[0] + "".join(map("".join, zip(chosen, texts[1:], strict=True)))


def _split_port(pattern: str) -> tuple[str, int]:
    """Return the pattern without its port, and the port, if what is left is a valid name or address."""
    host, port = pattern, 0
    for form in (_BRACKETED, _WITH_PORT):
        if found := form.fullmatch(host):
            host, port = found[1], int(found[2])
    return (host, port) if _is_host(host) else (pattern, 0)


def _is_host(text: str) -> bool:
    """Tell whether this is a host name or an address to Ansible, with ranges or without."""
    labels = _PLAIN_RANGE.sub("0", text).split(".")
    if all(_LABEL.fullmatch(label) and not label.endswith(("-", "_")) for label in labels):
        return True
    for kind in (IPv4Address, IPv6Address):
        try:
            kind(_HEX_RANGE.sub("0", text))
        except AddressValueError:
            continue
        return True
    return False


def _choices(inside: str) -> list[str]:
    """Return what `1:3`, `01:10`, `a:c` or `1:9:2` stands for; `:3` starts at 0. Raises ValueError."""
    first, *rest = inside.split(":")
    if len(rest) not in (1, 2):
        raise ValueError(_EXPECTED)
    first, last, step = first or "0", rest[0], rest[1] if len(rest) == 2 else "1"
    if not _NUMBER.fullmatch(step) or int(step) == 0:
        raise ValueError(_EXPECTED)
    if len(first) == len(last) == 1 and first in ascii_letters and last in ascii_letters:
        letters = ascii_letters[ascii_letters.index(first) : ascii_letters.index(last) + 1]
        chosen = list(letters[:: int(step)])
    elif _NUMBER.fullmatch(first) and _NUMBER.fullmatch(last):
        chosen = _numbers(first, last, int(step))
    else:
        raise ValueError(_EXPECTED)
    if not chosen:
        raise ValueError("expected a range to count upwards")
    return chosen


def _numbers(first: str, last: str, step: int) -> list[str]:
    width = len(first) if first.startswith("0") and len(first) > 1 else 0
    if width and width != len(last):
        raise ValueError("expected both ends of a range in the same width, as in node[001:100]")
    numbers = range(int(first), int(last) + 1, step)
    if len(numbers) > MAX_HOSTS:
        raise ValueError(f"expected at most {MAX_HOSTS:,} hosts")
    return [str(number).zfill(width) for number in numbers]
