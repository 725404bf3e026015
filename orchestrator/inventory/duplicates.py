"""No two hosts under one name, and no two at the end of one way; both places are told."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.inventory.model import Host
from orchestrator.inventory.tables import Tables
from orchestrator.inventory.tree import Node


class Duplicates:
    """What hosts have been seen with so far, and on which line."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._names: dict[str, tuple[str, int]] = {}
        self._ways: dict[tuple[str, int | None, str | None], tuple[str, int]] = {}

    def check_names(self, at: Node, path: str, names: Iterable[str]) -> None:
        """Note the first of `names`, all written `at` one place, that was there before."""
        for name in names:
            # Folders carry it, and not every file system tells case apart.
            before = self._names.get(name.casefold())
            if before is not None:
                first, line = before
                but = "" if name == first else f", {first!r}, which differs only in case"
                message = f"duplicate name {name!r}; the first is on line {line}{but}"
                self._tables.note(at, path, message)
                return
            self._names[name.casefold()] = (name, at.line)

    def check_ways(self, at: Node, path: str, hosts: Iterable[Host]) -> None:
        """Note the first of `hosts` that is reached as a host of another name is."""
        for host in hosts:
            way = (host.address.lower(), host.port, host.proxy_jump)
            first, line = self._ways.setdefault(way, (host.name, at.line))
            if first.casefold() != host.name.casefold():
                message = (
                    f"{host.name!r} has the same address, port and proxy_jump as {first!r} "
                    f"on line {line}"
                )
                self._tables.note(at, path, message)
                return
