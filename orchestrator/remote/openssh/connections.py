"""Log in to many hosts at once with OpenSSH's client: few handshakes at a time, each gateway only once."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import Unreachable, UsageError
from orchestrator.remote.openssh import mux
from orchestrator.remote.openssh.login import Gateway, Login, alive_options, quoted
from orchestrator.remote.openssh.masters import Masters
from orchestrator.remote.openssh.node import OpensshNode
from orchestrator.remote.ssh import verdicts
from orchestrator.remote.ssh.config import (
    ConfigParseError,
    Resolver,
    Target,
    config_files,
)
from orchestrator.remote.ssh.limits import DEFAULT_TIMEOUT, MAX_PER_ENDPOINT, RETRY_DELAYS
from orchestrator.util.log import node_logger

if TYPE_CHECKING:
    from orchestrator.inventory import Host

_MAX_LOGINS = 32  # each is a process
SILENCE = 30.0
"""Seconds; that of a run with the default --node-timeout, which can share masters with other commands."""


@dataclass(frozen=True)
class ConnectOptions:
    """How to connect: `timeout` limits each login, and a connection breaks after `silence`; in seconds.

    Without a timeout, ConnectTimeout of ssh_config counts, otherwise 10 s.
    """

    timeout: float | None
    accept_new: bool
    silence: float


class Connections:
    """The logins of one `connect_all`."""

    def __init__(self, masters: Masters, options: ConnectOptions) -> None:
        self._masters = masters
        self._options = options
        self._resolver = Resolver(config_files())
        self._logins = asyncio.Semaphore(_MAX_LOGINS)
        self._per_endpoint: dict[object, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(MAX_PER_ENDPOINT)
        )
        self._gateways: dict[Target, asyncio.Task[Gateway | Unreachable]] = {}

    async def __aenter__(self) -> Connections:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cancel the logins to gateways that nobody waits for any more."""
        for task in self._gateways.values():
            task.cancel()
        await asyncio.gather(*self._gateways.values(), return_exceptions=True)
        await self._resolver.__aexit__()

    async def resolve_all(self, hosts: Sequence[Host]) -> list[Target]:
        """Return how to reach each host, in order. Raises UsageError for an invalid ssh_config file."""
        try:
            return await self._resolver.resolve_all(hosts)
        except ConfigParseError as error:
            remedy = "correct it; `ssh -G HOST` prints what ssh makes of it"
            raise UsageError(f"ssh_config: {error}", remedy=remedy) from error

    async def connect(
        self, host: Host, target: Target, warnings: tuple[str, ...] = ()
    ) -> OpensshNode | Unreachable:
        """Return the node at `target`, over a master that the user has started, or one of orch's."""
        result = await self._connect(host, target.by_openssh(), warnings)
        return (
            verdicts.with_settings(result, target.by_openssh())
            if isinstance(result, Unreachable)
            else result
        )

    async def _connect(
        self, host: Host, target: Target, warnings: tuple[str, ...]
    ) -> OpensshNode | Unreachable:
        if (live := await _live(target)) is not None:
            return OpensshNode(host, target, live, warnings)
        options = []
        if host.user is not None:
            options.append(f"User={host.user}")
        if host.port is not None:
            options.append(f"Port={host.port}")
        if host.identity_file is not None:
            options.append(quoted("IdentityFile", host.identity_file))
        if host.proxy_jump is not None and host.proxy_jump.lower() == "none":
            options.append("ProxyJump=none")
        try:
            gateway = await self._gateway(target, ())
        except ConfigParseError as error:
            remedy = "correct proxy_jump, or ProxyJump in ~/.ssh/config"
            return Unreachable(host.name, "gateway", str(error), remedy)
        if isinstance(gateway, Unreachable):
            return verdicts.behind(host.name, gateway)
        master = await self._log_in(host.name, target, options, gateway)
        if isinstance(master, Unreachable):
            return master
        if target.accept_new is not None and master in self._masters.with_new_keys:
            warnings = (*warnings, target.trusts_new_keys)
        return OpensshNode(host, target, master, warnings)

    async def needs(self, target: Target) -> str | None:
        """Return why OpenSSH's client must connect to `target`, or to a gateway on the way, if it must.

        Raises ConfigParseError.
        """
        seen: tuple[tuple[str, int], ...] = ()
        hop: Target | None = target
        while hop is not None:
            if await _live(hop) is not None:
                return "a connection of ssh is open, at its ControlPath"
            if hop.needs_openssh:
                return f"ssh_config has {hop.needs_openssh[0]}"
            seen = (*seen, (hop.hostname, hop.port))
            hop = await self._hop(hop, seen)
        return None

    async def _gateway(
        self, target: Target, before: tuple[tuple[str, int], ...]
    ) -> Gateway | Unreachable | None:
        """Return the last gateway on the way to `target`, connected; None if there is none.

        `before` are the endpoints from the node to here. The first hop of a ProxyJump may have a ProxyJump
        of its own, as for ssh -J. Raises ConfigParseError.
        """
        seen = (*before, (target.hostname, target.port))
        hop = await self._hop(target, seen)
        if hop is None:
            return None
        if hop not in self._gateways:
            self._gateways[hop] = asyncio.create_task(self._open_gateway(hop, seen))
        return await asyncio.shield(self._gateways[hop])

    async def _hop(self, target: Target, seen: tuple[tuple[str, int], ...]) -> Target | None:
        """Return the last gateway on the way to `target`; None if there is none.

        `seen` are the endpoints from the node to `target`. Raises ConfigParseError.
        """
        jump = target.proxy_jump
        if not jump or jump.lower() == "none":
            return None
        first, _, last = jump.rpartition(",")
        hop = await self._resolver.resolve_hop(last.strip(), target.extra_known_hosts)
        if first:
            hop = replace(hop, proxy_jump=first)
        endpoint = (hop.hostname, hop.port)
        if endpoint == seen[-1]:  # `Host *` with a ProxyJump also applies to the gateway itself
            return None
        if endpoint in seen:
            raise ConfigParseError(f"the gateways of {target.label} lead in a circle")
        return hop

    async def _open_gateway(
        self, hop: Target, before: tuple[tuple[str, int], ...]
    ) -> Gateway | Unreachable:
        if (live := await _live(hop)) is not None:
            return Gateway(hop, live)
        through = await self._gateway(hop, before)
        if isinstance(through, Unreachable):
            return verdicts.behind(hop.label, through)
        options = [f"User={hop.user}", f"Port={hop.port}"]
        master = await self._log_in(hop.label, hop, options, through)
        return master if isinstance(master, Unreachable) else Gateway(hop, master)

    async def _log_in(
        self, name: str, target: Target, options: Sequence[str], gateway: Gateway | None
    ) -> Path | Unreachable:
        """Log in to a node or gateway; retry, while there is time, if sshd is busy."""
        known = []
        if target.extra_known_hosts:
            files = (*target.user_known_hosts, *target.extra_known_hosts)
            known.append(quoted("UserKnownHostsFile", *files))
        login = Login(
            target,
            (*options, *known, *alive_options(self._options.silence)),
            gateway,
        )
        endpoint = (target.proxy_jump, target.proxy_command, target.hostname, target.port)
        log = node_logger("ssh", name)
        async with self._logins, self._per_endpoint[endpoint]:
            loop = asyncio.get_running_loop()
            start = loop.time()
            limit = self._options.timeout or target.connect_timeout or DEFAULT_TIMEOUT
            for delay in (*RETRY_DELAYS, None):
                left = limit - (loop.time() - start)
                log.debug("logging in to %s, within %g s", target.endpoint, left)
                result = await self._masters.open(
                    name, login, left, accept_new=self._options.accept_new
                )
                if isinstance(result, Path):
                    log.info("connected to %s in %.2f s", target.endpoint, loop.time() - start)
                    return result
                failure = replace(result, timeout=limit)
                verdict = failure.verdict(name, target, gateway.target if gateway else None)
                if delay is None or not verdict.is_busy or left < 3 * delay:
                    log.info("not connected: %s (%s)", verdict.message, verdict.cause)
                    return verdict
                log.debug("sshd is busy: another try in about %g s", delay)
                await asyncio.sleep(delay * random.uniform(0.5, 1.5))
        raise AssertionError("the last round returns")


async def _live(target: Target) -> Path | None:
    """Return the socket of a master that the user has started for `target`."""
    path = target.control_path
    if path is None or await mux.find_master(path) is None:
        return None
    return Path(path)
