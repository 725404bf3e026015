"""Hosts that the transport `ssh` leaves to OpenSSH's client, because of what ssh_config says about them."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

from orchestrator.errors import LaunchError, Unreachable
from orchestrator.remote.base import Node
from orchestrator.remote.openssh.connections import Connections, ConnectOptions
from orchestrator.remote.openssh.login import PROGRAM
from orchestrator.remote.openssh.masters import Masters
from orchestrator.remote.openssh.verdicts import BY_A_PERSON
from orchestrator.remote.ssh.config import ConfigParseError, Target
from orchestrator.remote.ssh.identities import find_security_key

if TYPE_CHECKING:
    from orchestrator.inventory import Host


class Handover:
    """The hosts of one `connect_all` that OpenSSH's client connects to, if it is installed."""

    def __init__(self, masters: Masters, options: ConnectOptions) -> None:
        self._masters = masters
        self._connections = Connections(masters, options)
        self._is_there = shutil.which(PROGRAM) is not None

    async def __aenter__(self) -> Handover:
        await self._connections.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._connections.__aexit__(*error)

    async def first(self, host: Host, target: Target) -> Node | Unreachable | None:
        """Return the node if only OpenSSH's client can do what is configured; None if orch can connect."""
        if not self._is_there:
            return None
        try:
            why = await self._connections.needs(target)
        except ConfigParseError:
            return None  # orch reports it
        return None if why is None else await self._connect(host, target, why)

    async def after(self, host: Host, target: Target, verdict: Unreachable) -> Node | Unreachable:
        """Return the node if OpenSSH's client can log in where orch could not, which led to `verdict`."""
        if not self._is_there or verdict.cause not in ("authentication", "gateway"):
            return verdict
        wanted = [method for method in verdict.methods if method in BY_A_PERSON]
        reasons = [f"a login wants {wanted[0]}"] if wanted else []
        reasons += [f"ssh_config has {setting}" for setting in target.login_by_openssh]
        if (key := await asyncio.to_thread(find_security_key, target)) is not None:
            reasons.append(f"{key} is on a security key")
        if not reasons:
            return verdict
        # Without a terminal, a master that another process has started may be there.
        result = await self._connect(host, target, reasons[0])
        was_tried = wanted and self._masters.has_asked
        return verdict if isinstance(result, Unreachable) and not was_tried else result

    async def _connect(self, host: Host, target: Target, why: str) -> Node | Unreachable:
        try:
            self._masters.prepare()
        except LaunchError as error:
            return Unreachable(host.name, "protocol", error.text, error.remedy or "")
        warning = f"OpenSSH's client connects (--transport openssh), because {why}"
        return await self._connections.connect(host, target, (warning,))
