"""How ssh would reach a host: the user's ssh_config, overridden by the inventory."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.inventory.values import is_valid_ssh_host, is_valid_ssh_user
from orchestrator.remote.ssh.config_files import (
    ConfigParseError,
    ConfigReader,
    Unsure,
)
from orchestrator.remote.ssh.openssh_config import Openssh
from orchestrator.remote.ssh.settings import Settings
from orchestrator.remote.ssh.target import Target, target_of
from orchestrator.util.ssh_home import ssh_home
from orchestrator.util.text import printable

if TYPE_CHECKING:
    from orchestrator.inventory import Host

__all__ = ["ConfigParseError", "Resolver", "Target", "config_files"]

_Key = tuple[str, str | None, int | None]
"""A name, and the user and port of the inventory."""
_PORT = re.compile(r"[0-9]{0,5}")


def config_files() -> tuple[Path, ...]:
    """Return the ssh_config files that exist, in ssh's order: the user's, then the system's."""
    candidates = (ssh_home() / ".ssh" / "config", Path("/etc/ssh/ssh_config"))
    return tuple(path for path in candidates if os.access(path, os.R_OK))


@dataclass
class Resolver:
    """Resolves the hosts and gateways of one command, each once.

    orch reads the `files` itself where it is certain to agree with ssh, and asks `ssh -G` otherwise.
    """

    files: tuple[Path, ...]
    openssh: Openssh | None = None
    """The ssh to ask; by default that of the PATH."""
    _own: dict[_Key, Settings | None] = field(default_factory=dict)
    _asked: dict[_Key, asyncio.Task[Settings]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.openssh is None and self.files:
            self.openssh = Openssh.find()
        self._strict = ConfigReader(self.files, strict=True)
        self._lenient = ConfigReader(self.files)

    async def __aenter__(self) -> Resolver:
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the programs that still run."""
        for task in self._asked.values():
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)

    async def resolve_all(self, hosts: Sequence[Host]) -> list[Target]:
        """Return how to reach each host, in order. Raises ConfigParseError for the first that fails."""
        keys = [(host.address, host.user, host.port) for host in hosts]
        await asyncio.to_thread(self._read, keys)
        return await asyncio.gather(*map(self.resolve, hosts))

    async def resolve(self, host: Host) -> Target:
        """Return how to reach `host`. Raises ConfigParseError if a file cannot be parsed."""
        target = await self._look_up(host.address, host.user, host.port)
        identity = (host.identity_file,) if host.identity_file else ()
        extra = (host.known_hosts,) if host.known_hosts else ()
        target = replace(
            target, identity_files=identity + target.identity_files, extra_known_hosts=extra
        )
        if host.proxy_jump:
            target = replace(target, proxy_jump=host.proxy_jump, proxy_command=None)
        return target

    async def resolve_hop(self, hop: str, extra_known_hosts: tuple[str, ...]) -> Target:
        """Return how to reach the gateway `[user@]host[:port]`. Raises ConfigParseError."""
        user, _, address = hop.removeprefix("ssh://").rpartition("@")
        port: str = ""
        if address.startswith("["):
            address, _, port = address[1:].partition("]")
            port = port.removeprefix(":")
        elif address.count(":") == 1:
            address, _, port = address.partition(":")
        if not address or not _PORT.fullmatch(port) or int(port or 22) not in range(1, 65536):
            raise ConfigParseError(
                f"a gateway is written [user@]host[:port], not {printable(hop)!r}"
            )
        target = await self._look_up(address, user or None, int(port) if port else None)
        return replace(target, extra_known_hosts=extra_known_hosts)

    async def _look_up(self, name: str, user: str | None, port: int | None) -> Target:
        if not is_valid_ssh_host(name):
            raise ConfigParseError(f"ssh takes no host called {printable(name)!r}")
        if user is not None and not is_valid_ssh_user(user):
            raise ConfigParseError(f"ssh takes no user called {printable(user)!r}")
        key = name, user, port
        if key not in self._own:
            await asyncio.to_thread(self._read, [key])
        settings = self._own[key]
        if settings is None:
            if key not in self._asked:
                self._asked[key] = asyncio.create_task(self._ask(*key))
            settings = await self._asked[key]
        return target_of(name, settings)

    def _read(self, keys: Sequence[_Key]) -> None:
        """Read the settings of hosts for which orch is certain to agree with ssh."""
        for key in keys:
            try:
                self._own[key] = self._strict.read(*key)
            except (Unsure, ConfigParseError):
                self._own[key] = None

    async def _ask(self, name: str, user: str | None, port: int | None) -> Settings:
        if self.openssh is None:  # in a thread: `Match exec` runs commands
            return await asyncio.to_thread(self._lenient.read, name, user, port)
        settings = await self.openssh.ask(name, user, port)
        for code in (0, 1):  # ssh ran the commands; their results are not known here
            try:
                own = ConfigReader(self.files, assumed_code=code).read(name, user, port)
            except ConfigParseError:
                return settings  # ssh has the last word
            settings = settings.with_places_of(own)
        return settings
