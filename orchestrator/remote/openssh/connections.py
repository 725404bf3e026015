"""Log in to many hosts at once with OpenSSH's client: few handshakes at a time, each gateway only once."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import Unreachable, UsageError
from orchestrator.remote.base import OnResult
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
from orchestrator.util.log import node_logger

if TYPE_CHECKING:
    from orchestrator.inventory import Host

# sshd starts to drop unauthenticated connections at 10 (MaxStartups 10:30:100).
_MAX_PER_ENDPOINT = 8
_MAX_LOGINS = 32  # each is a process
_RETRY_DELAYS = (0.1, 0.3, 0.9)  # seconds, randomised


@dataclass(frozen=True)
class ConnectOptions:
    """How to connect: `timeout` limits each login, and a connection breaks after `silence`; in seconds."""

    timeout: float
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
            lambda: asyncio.Semaphore(_MAX_PER_ENDPOINT)
        )
        self._gateways: dict[tuple[str, ...], asyncio.Task[Gateway | Unreachable]] = {}

    async def open_all(
        self, hosts: Sequence[Host], on_result: OnResult | None
    ) -> list[OpensshNode | Unreachable]:
        """Log in to all hosts; return, in their order, the nodes or the reasons for failure.

        Raises UsageError if an ssh_config file cannot be parsed, LaunchError if there is no ssh.
        """
        async with self._resolver:
            return await self._open_all(hosts, on_result)

    async def _open_all(
        self, hosts: Sequence[Host], on_result: OnResult | None
    ) -> list[OpensshNode | Unreachable]:
        try:
            targets = await self._resolver.resolve_all(hosts)
        except ConfigParseError as error:
            remedy = "correct it; `ssh -G HOST` prints what ssh makes of it"
            raise UsageError(f"ssh_config: {error}", remedy=remedy) from error
        self._masters.prepare()

        async def connect(host: Host, target: Target) -> OpensshNode | Unreachable:
            start = time.monotonic()
            result = await self._connect(host, target)
            if on_result is not None:
                on_result(host.name, result, time.monotonic() - start)
            return result

        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(connect(host, target))
                for host, target in zip(hosts, targets, strict=True)
            ]
        return [task.result() for task in tasks]

    async def _connect(self, host: Host, target: Target) -> OpensshNode | Unreachable:
        live = target.control_path
        if live is not None and await mux.find_master(live) is not None:
            return OpensshNode(host, target, Path(live))
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
        return OpensshNode(host, target, master)

    async def _gateway(
        self, target: Target, before: tuple[tuple[str, int], ...]
    ) -> Gateway | Unreachable | None:
        """Return the last gateway on the way to `target`, connected; None if there is none.

        `before` are the endpoints that this way leads to. The first hop of a ProxyJump may have a ProxyJump
        of its own, as for ssh -J. Raises ConfigParseError.
        """
        jump = target.proxy_jump
        if not jump or jump.lower() == "none":
            return None
        first, _, last = jump.rpartition(",")
        hop = await self._resolver.resolve_hop(last.strip(), target.extra_known_hosts)
        if first:
            hop = replace(hop, proxy_jump=first)
        here, endpoint = (target.hostname, target.port), (hop.hostname, hop.port)
        if endpoint == here:  # `Host *` with a ProxyJump also applies to the gateway itself
            return None
        if endpoint in before:
            raise ConfigParseError(f"the gateways of {target.label} lead in a circle")
        key = (last, first, *target.extra_known_hosts)
        if key not in self._gateways:
            opening = self._open_gateway(hop, (*before, here))
            self._gateways[key] = asyncio.create_task(opening)
        return await asyncio.shield(self._gateways[key])

    async def _open_gateway(
        self, hop: Target, before: tuple[tuple[str, int], ...]
    ) -> Gateway | Unreachable:
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
            for delay in (*_RETRY_DELAYS, None):
                left = self._options.timeout - (loop.time() - start)
                log.debug("logging in to %s, within %g s", target.endpoint, left)
                result = await self._masters.open(
                    name, login, left, accept_new=self._options.accept_new
                )
                if isinstance(result, Path):
                    log.info("connected to %s in %.2f s", target.endpoint, loop.time() - start)
                    return result
                failure = replace(result, timeout=self._options.timeout)
                verdict = failure.verdict(name, target, gateway.target if gateway else None)
                if delay is None or not verdict.is_busy or left < 3 * delay:
                    log.info("not connected: %s (%s)", verdict.message, verdict.cause)
                    return verdict
                log.debug("sshd is busy: another try in about %g s", delay)
                await asyncio.sleep(delay * random.uniform(0.5, 1.5))
        raise AssertionError("the last round returns")
