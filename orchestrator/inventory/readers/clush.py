"""Nodes and groups of ClusterShell: what `clush -w` and `nodeset` take."""

from __future__ import annotations

import json
import re
import sys

from orchestrator.errors import InventoryError
from orchestrator.inventory.model import Group, Host, Inventory
from orchestrator.inventory.readers.base import Reader, Source
from orchestrator.util.bounded_run import RunFailed, run_bounded
from orchestrator.util.text import printable, quoted

_MODULE = "orchestrator.inventory.readers.clush_names"
_TIMEOUT = 30.0  # seconds: a group may be listed by a program
_MAX_BYTES = 16 << 20
_GROUP = re.compile(r"@[\w.*:@-]+(?:[,!&^][^\s]*)?")


class ClushReader(Reader):
    """Reads `@gpu` and `clush:EXPRESSION`."""

    name = "clush"
    help = "groups of ClusterShell"

    def recognises(self, source: Source) -> bool:
        return source.path is None and _GROUP.fullmatch(source.given) is not None

    def read(self, source: Source) -> Inventory:
        expression = source.given or "@*"
        if expression.startswith("-"):
            raise InventoryError(f"{source}: expected nodes or groups, as in clush:@gpu")
        found = _ask(source, expression)
        if not found["hosts"]:
            raise InventoryError(f"{source}: no host in it")
        hosts = []
        for name in found["hosts"]:
            try:
                hosts.append(Host(name=name))
            except ValueError:
                raise InventoryError(f"{source}: not the name of a host: {quoted(name)}") from None
        groups = tuple(
            Group(name=name, hosts=tuple(members)) for name, members in found["groups"].items()
        )
        return Inventory(hosts=tuple(hosts), groups=groups, source=f"clush:{expression}")


READER = ClushReader()


def _ask(source: Source, expression: str) -> dict[str, dict[str, list[str]]]:
    """Return hosts and groups. Raises InventoryError with what ClusterShell says, or after 30 s."""
    argv = [sys.executable, "-P", "-m", _MODULE, expression]
    try:
        ended = run_bounded(argv, timeout=_TIMEOUT, max_bytes=_MAX_BYTES)
    except RunFailed as error:
        reason = str(error).replace(sys.executable, "ClusterShell")
        raise InventoryError(f"{source}: {printable(reason, 400)}") from None
    try:
        answer = json.loads(ended.output)
    except ValueError:
        lines = ended.errors.decode("utf-8", "replace").strip().splitlines() or [
            "it gives no reason"
        ]
        answer = {"error": lines[-1]}
    if "error" in answer:
        reason = printable(str(answer["error"]), 1000)
        raise InventoryError(f"{source}: {reason}", remedy="nodeset -LL shows the groups")
    return dict(answer)
