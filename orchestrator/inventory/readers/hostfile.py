"""Hostfiles: lists of one host a line, of DeepSpeed, Open MPI, MPICH, LSF and others."""

from __future__ import annotations

import re
from collections.abc import Sequence

from orchestrator.errors import InventoryError
from orchestrator.inventory.hostfiles.dialects import (
    HYDRA_KEYS,
    MAX_SLOTS,
    RANKFILE,
    SLOTS,
    Dialect,
    dialect_of,
    hosts_by_rank,
    read_hosts,
)
from orchestrator.inventory.hostfiles.lines import Line, decode, read_lines
from orchestrator.inventory.model import Host, Inventory
from orchestrator.inventory.problems import Problems, TooMany
from orchestrator.inventory.readers.base import HEAD_BYTES, Reader, Source
from orchestrator.util.text import escaped

_ANSIBLE = b"ansible_"
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
_HOST = re.compile(
    r"[+^]?(?:[^\s@:=]{1,255}@)?(?:[A-Za-z0-9_][A-Za-z0-9._\[\],-]{0,253}|\[?[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]{1,60}\]?)"
    r"(?::[0-9]{1,9})?"
)
# A section of Ansible's INI, a key or a list of YAML, JSON, or a quoted text.
_FOREIGN = re.compile(r"\[[A-Za-z_][^\]]{0,255}\]|[{}\-\"'%!&*]|[^\s=]{1,255}:(?:\s|\Z)")


class HostfileReader(Reader):
    """Reads a file in any of the dialects; which one it is, its lines show."""

    name = "hostfile"
    help = "a hostfile"
    is_data_only = True

    def recognises(self, source: Source) -> bool:
        head = source.head
        if source.path is None or _CONTROL.search(head) or head.startswith(b"#!"):
            return False
        if len(head) == HEAD_BYTES:
            head = head[: head.rfind(b"\n") + 1]
        lines = list(read_lines(decode(head)))
        return bool(lines) and _ANSIBLE not in head and _are_hosts(lines)

    def describe(self, source: Source) -> str:
        lines = list(read_lines(decode(source.content)))
        return dialect_of(lines).name if lines else self.help

    def read(self, source: Source) -> Inventory:
        lines = list(read_lines(decode(source.content)))
        hosts = hosts_of(lines, source.given)
        if dialect_of(lines) is RANKFILE and hosts_by_rank(lines) != _by_rank(hosts):
            source.notes.append("the ranks of a host are numbered one after another, not as there")
        return Inventory(hosts=hosts, source=source.path or str(source))


READER = HostfileReader()


def _by_rank(hosts: Sequence[Host]) -> list[str]:
    """Return the host of each rank as orch numbers them, in lower case."""
    return [
        host.address.casefold()
        for host in hosts
        if isinstance(host.devices, int)
        for _ in range(host.devices)
    ]


def hosts_in(source: Source, dialect: Dialect | None = None) -> tuple[Host, ...]:
    """Return the hosts in a file, read by the rules of `dialect` (None: the one that its lines show).

    Raises InventoryError with all faults.
    """
    return hosts_of(list(read_lines(decode(source.content))), source.given, dialect)


def hosts_of(
    lines: Sequence[Line], source: str, dialect: Dialect | None = None
) -> tuple[Host, ...]:
    """Return the hosts in lines of `source`. Raises InventoryError with all faults."""
    if not lines:
        raise InventoryError(
            f"{escaped(source)}: no host is listed", remedy="write one a line, as in node0 slots=8"
        )
    problems = Problems(source)
    try:
        hosts = read_hosts(lines, dialect or dialect_of(lines), problems).hosts()
    except TooMany:
        raise problems.error() from None
    if problems:
        raise problems.error()
    if not hosts:
        raise InventoryError(f"{escaped(source)}: no host is left: ^ excludes all of them")
    return hosts


def _are_hosts(lines: Sequence[Line]) -> bool:
    """Tell whether these are lines of a hostfile: slots, and nothing of another format; or only hosts."""
    if any(map(_has_slots, lines)):
        return not any(_FOREIGN.match(line.content) for line in lines)
    return all(_is_host(line) and _is_plain(line) for line in lines)


def _is_host(line: Line) -> bool:
    return _HOST.fullmatch(str(line.words[0])) is not None


def _has_slots(line: Line) -> bool:
    first, *rest = line.words
    keys = {word.key for word in rest if word.value is not None}
    is_rank = first.key == "rank" and bool(rest) and rest[0].key.isdecimal() and bool(keys)
    return is_rank or (_is_host(line) and bool(keys & (SLOTS | MAX_SLOTS)))


def _is_plain(line: Line) -> bool:
    """Tell whether the line is `h`, `h:4 user=me`, `h 4` or `h 4 QUEUE ...`."""
    first, *rest = line.words
    if ":" in first.key and rest:
        return all(word.value is not None and word.key in HYDRA_KEYS for word in rest)
    return not rest or (rest[0].value is None and rest[0].key.isdecimal())
