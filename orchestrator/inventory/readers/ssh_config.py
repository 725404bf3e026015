"""Hosts that the user's ssh_config names."""

from __future__ import annotations

import re
from collections.abc import Iterable

from orchestrator.errors import InventoryError
from orchestrator.inventory.model import Host, Inventory
from orchestrator.inventory.readers.base import Reader, Source
from orchestrator.inventory.ssh_config_hosts import host_lines, users_file
from orchestrator.util.ssh_patterns import matches_list
from orchestrator.util.text import counted, escaped, first_few, nearest, quoted

_HOST = re.compile(rb"^[ \t]*Host[ \t=]+[^\s:]", re.MULTILINE | re.IGNORECASE)
_SETTING = re.compile(
    rb"^[ \t]*(HostName|User|Port|IdentityFile|ProxyJump|Include)[ \t=]+[^\s:]",
    re.MULTILINE | re.IGNORECASE,
)
_IS_PATTERN = re.compile(r"[*?!,]")


class SshConfigReader(Reader):
    """Reads `ssh_config:` and `ssh_config:PATTERN`; how to reach the hosts is left to the transport."""

    name = "ssh_config"
    help = "the hosts in ~/.ssh/config"

    def recognises(self, source: Source) -> bool:
        if source.path is None:
            return False
        return _HOST.search(source.head) is not None and _SETTING.search(source.head) is not None

    def read(self, source: Source) -> Inventory:
        pattern = source.given
        if not source.is_named or "/" in pattern:
            _require_users(source)
            pattern = ""
        names = _unique(name for line in host_lines() for name in line.names())
        chosen = [name for name in names if matches_list(name, pattern or "*")]
        if not chosen:
            raise InventoryError(f"{source}: {_nothing(names, pattern)}")
        hosts = []
        for position, name in enumerate(chosen):
            try:
                named = f"node{position}" if ":" in name else name
                hosts.append(Host(name=named, address=name))
            except ValueError:
                source.notes.append(f"left out {quoted(name)}: not a name that orch takes")
        return Inventory(hosts=tuple(hosts), source=f"ssh_config:{pattern}")


READER = SshConfigReader()


def _require_users(source: Source) -> None:
    """Raise InventoryError unless the source is the user's own file, which ssh follows."""
    own = users_file()
    if source.path is None or not own.exists() or not source.path.samefile(own):
        raise InventoryError(
            f"{source}: ssh and orch connect by what ~/.ssh/config says, not by this file",
            remedy=f"write `Include {escaped(source.given)}` into ~/.ssh/config, then -i ssh_config:",
        )


def _unique(names: Iterable[str]) -> list[str]:
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(name.casefold(), name)
    return list(found.values())


def _nothing(names: list[str], pattern: str) -> str:
    if not names:
        return "~/.ssh/config names no host, only patterns or nothing"
    meant = None if _IS_PATTERN.search(pattern) else nearest(pattern, names)
    hint = f"did you mean {meant}?" if meant else f"such as {first_few(names)}"
    return f"none of the {counted(len(names), 'host')} in ~/.ssh/config matches {quoted(pattern)}; {hint}"
