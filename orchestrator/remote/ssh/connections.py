"""SSH connections, and the gateways that several of them share.

A `Link` is one open SSH connection. A link through a gateway holds on to the gateway's link; when
the last one lets go, the gateway's connection is closed too.
"""

from __future__ import annotations

import asyncio
import base64
import random
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncssh

from orchestrator.errors import Unreachable
from orchestrator.remote.ssh import verdicts
from orchestrator.remote.ssh.algorithms import algorithms
from orchestrator.remote.ssh.config import ConfigParseError, Target, resolve_hop
from orchestrator.remote.ssh.dial import dial, resolve_name
from orchestrator.remote.ssh.host_keys import Entry, Known, KnownHosts
from orchestrator.remote.ssh.identities import KeyFiles
from orchestrator.remote.ssh.login import Login, Trust
from orchestrator.remote.ssh.login_verdicts import not_logged_in
from orchestrator.util.bounded_read import Unreadable
from orchestrator.util.log import NODE, logger

# sshd starts to drop unauthenticated connections at 10 (MaxStartups 10:30:100).
_PER_ENDPOINT = 8
_AT_ONCE = 128
_KEEPALIVES_MISSED = 3
_COME_AGAIN = (0.1, 0.3, 0.9)  # seconds until the next try, more or less
_CLOSE_WITHIN = 2.0  # seconds

log = logger("ssh")


class SshConnection:
    """One open SSH connection, and the gateway's that it goes through."""

    def __init__(self, connection: asyncssh.SSHClientConnection, via: SshConnection | None) -> None:
        self.connection = connection
        self._via = via
        self._holders = 1
        if via is not None:
            via.hold()

    def hold(self) -> None:
        """Keep the connection open until one more `release`."""
        self._holders += 1

    async def release(self) -> None:
        """Let go; the last one to do so closes the connection, and lets go of its gateway."""
        self._holders -= 1
        if self._holders:
            return
        self.connection.close()
        try:
            async with asyncio.timeout(_CLOSE_WITHIN):
                await self.connection.wait_closed()
        except TimeoutError:  # the peer is gone and takes no goodbye
            self.connection.abort()
        if self._via is not None:
            await self._via.release()


class SshConnections:
    """Opens links: each bounded in time, each gateway once, few handshakes at a time."""

    def __init__(
        self,
        *,
        timeout: float,
        accept_new: bool,
        keepalive: float,
        trust: Trust | None,
        files: tuple[Path, ...],
    ) -> None:
        self._timeout = timeout
        self._accept_new = accept_new
        self._keepalive = keepalive
        self._trust = trust
        self._files = files
        self._known_hosts = KnownHosts()
        self._key_files = KeyFiles()
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._per_endpoint: dict[object, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(_PER_ENDPOINT)
        )
        self._gateways: dict[tuple[Target, ...], asyncio.Task[SshConnection | Unreachable]] = {}

    async def __aenter__(self) -> SshConnections:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let go of the gateways: those that nobody goes through are closed."""
        for task in self._gateways.values():
            task.cancel()
        for result in await asyncio.gather(*self._gateways.values(), return_exceptions=True):
            if isinstance(result, SshConnection):
                await result.release()

    async def open(self, name: str, target: Target) -> SshConnection | Unreachable:
        """Return a link to `target`, or why there is none, for the node called `name`."""
        try:
            hops = self._hops(target)
        except ConfigParseError as error:
            return Unreachable(
                name, "gateway", str(error), "correct proxy_jump, or ProxyJump in ~/.ssh/config"
            )
        via = await self._gateway(hops) if hops else None
        if isinstance(via, Unreachable):
            return verdicts.behind(name, via)
        result = await self._connect(name, target, via, hops)
        return verdicts.with_place(result, target) if isinstance(result, Unreachable) else result

    def _hops(self, target: Target) -> tuple[Target, ...]:
        """Return the gateways on the way to `target`, the first one first.

        The first of several in a ProxyJump may have a ProxyJump of its own, as for ssh -J.
        """
        hops: tuple[Target, ...] = ()
        jump, seen = target.proxy_jump, {(target.hostname, target.port)}
        while jump and jump.lower() != "none":
            chain = [
                resolve_hop(hop.strip(), self._files, target.extra_known_hosts)
                for hop in jump.split(",")
            ]
            first = (chain[0].hostname, chain[0].port)
            if first in seen:  # `Host *` with a ProxyJump applies to the gateway itself, too
                own = first == (target.hostname, target.port) or first == (
                    hops[0].hostname,
                    hops[0].port,
                )
                if own and len(chain) == 1:
                    break
                raise ConfigParseError(f"the gateways of {target.label} lead in a circle")
            seen.add(first)
            hops = (*chain, *hops)
            jump = chain[0].proxy_jump
        return hops

    async def _gateway(self, hops: tuple[Target, ...]) -> SshConnection | Unreachable:
        """Return the one link to the last of `hops`, opening what is not open yet."""
        if hops not in self._gateways:
            self._gateways[hops] = asyncio.create_task(self._open_gateway(hops))
        return await asyncio.shield(self._gateways[hops])

    async def _open_gateway(self, hops: tuple[Target, ...]) -> SshConnection | Unreachable:
        *before, last = hops
        via = await self._gateway(tuple(before)) if before else None
        if isinstance(via, Unreachable):
            return verdicts.behind(last.label, via)
        return await self._connect(last.label, last, via, tuple(before))

    async def _connect(
        self, name: str, target: Target, via: SshConnection | None, hops: tuple[Target, ...]
    ) -> SshConnection | Unreachable:
        endpoint = (hops, target.hostname, target.port, target.proxy_command)
        NODE.set(name)
        async with self._at_once, self._per_endpoint[endpoint]:
            loop = asyncio.get_running_loop()
            began = loop.time()
            log.debug("connecting to %s, within %g s", target.endpoint, self._timeout)
            result = await self._connect_until(name, target, via, hops, began + self._timeout)
        took = loop.time() - began
        if isinstance(result, Unreachable):
            log.info("not connected after %.2f s: %s (%s)", took, result.message, result.cause)
        else:
            log.info("connected to %s as %s in %.2f s", target.endpoint, target.user, took)
        return result

    async def _connect_until(
        self,
        name: str,
        target: Target,
        via: SshConnection | None,
        hops: tuple[Target, ...],
        deadline: float,
    ) -> SshConnection | Unreachable:
        if via is not None:
            log.debug("through the gateway %s", hops[-1].label)
            way: dict[str, Any] = {"tunnel": via.connection}
            return await self._log_in(name, target, via, hops, way, deadline)
        if target.proxy_command is not None:
            return await self._log_in_by_command(name, target, deadline)
        return await self._log_in_directly(name, target, deadline)

    async def _log_in_directly(
        self, name: str, target: Target, deadline: float
    ) -> SshConnection | Unreachable:
        """Connect by TCP; come again, within the time there is, where sshd turns one away.

        It does so at random when it has many handshakes at once, which are not only ours.
        """
        for pause in (*_COME_AGAIN, None):
            sock = await self._dial(name, target, deadline)
            if isinstance(sock, Unreachable):
                return sock
            result = await self._log_in(name, target, None, (), {"sock": sock}, deadline)
            if pause is None or not isinstance(result, Unreachable):
                return result
            left = deadline - asyncio.get_running_loop().time()
            if not result.is_busy or left < 2 * pause:
                return result
            log.debug("sshd is busy: another try in about %g s", pause)
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
        raise AssertionError("the last round returns")

    async def _log_in_by_command(
        self, name: str, target: Target, deadline: float
    ) -> SshConnection | Unreachable:
        """Connect through a ProxyCommand, which a shell runs, as for ssh.

        asyncssh takes what comes on standard error for the node's bytes, and its closing for the
        node's hanging up. So the command's goes to a file, while the shell keeps its own open.
        """
        log.debug("through a ProxyCommand")  # not which: it may hold a password
        with tempfile.NamedTemporaryFile(prefix="orch-proxy-") as said:
            script = f'{{ {target.proxy_command}\n}} 2>"$0"; exit $?'
            way = {"proxy_command": ["/bin/sh", "-c", script, said.name]}
            result = await self._log_in(name, target, None, (), way, deadline)
            if isinstance(result, Unreachable):
                return verdicts.by_command(result, said.read(4096))
            return result

    async def _dial(self, name: str, target: Target, deadline: float) -> Any:
        log.debug("looking up %s", target.hostname)
        try:
            async with asyncio.timeout_at(deadline):
                addresses = await resolve_name(target.hostname, target.port, target.family)
        except TimeoutError:
            return verdicts.name_timed_out(name, target, self._timeout)
        except OSError as error:
            return verdicts.not_connected(name, target, error, self._timeout)
        left = deadline - asyncio.get_running_loop().time()
        try:
            return await dial(addresses, target.bind_address, left)
        except OSError as error:
            return verdicts.not_connected(name, target, error, self._timeout)

    async def _log_in(
        self,
        name: str,
        target: Target,
        via: SshConnection | None,
        hops: tuple[Target, ...],
        way: dict[str, Any],
        deadline: float,
    ) -> SshConnection | Unreachable:
        try:
            login = Login(
                name,
                target,
                self._known_hosts,
                self._key_files,
                accept_new=self._accept_new,
                trust=self._trust,
            )
        except Unreadable as error:
            if "sock" in way:
                way["sock"].close()
            return verdicts.known_hosts_unreadable(name, error)
        settings = self._settings(target, login.known)
        log.debug("waiting for the SSH greeting of %s", target.endpoint)
        try:
            async with asyncio.timeout_at(deadline):
                connection = await asyncssh.connect(
                    target.hostname,
                    target.port,
                    config=None,
                    client_factory=lambda: login,
                    **way,
                    **settings,
                )
        except asyncssh.ChannelOpenError as error:
            return verdicts.not_through(name, target, hops[-1], error)
        except Exception as error:
            # Whatever bytes the other end sends, and whatever asyncssh makes of them, is the
            # node's fault and its verdict, not the end of all other nodes' connections.
            return not_logged_in(name, target, login, error, self._timeout)
        finally:
            if login.connection is None and "sock" in way:
                way["sock"].close()
            if login.agent is not None:
                login.agent.close()
        return SshConnection(connection, via)

    def _settings(self, target: Target, known: Known) -> dict[str, Any]:
        """Return the arguments of asyncssh.connect that do not depend on the way there."""
        return {
            "username": target.user,
            # Host keys and client keys are judged and offered by Login, nowhere else.
            "known_hosts": ((), (), _keys(known.revoked)),
            "host_key_alias": target.host_key_alias,
            "client_keys": None,
            "x509_trusted_certs": None,
            "preferred_auth": "publickey",
            "password_auth": False,
            "kbdint_auth": False,
            "host_based_auth": False,
            "gss_host": None,
            "agent_forwarding": False,
            "tcp_keepalive": target.tcp_keepalive,
            "connect_timeout": None,  # `timeout` covers all of it
            "login_timeout": 0,
            "keepalive_interval": self._keepalive,
            "keepalive_count_max": _KEEPALIVES_MISSED,
            "compression_algs": "none",
            **algorithms(target, known),
        }


def _keys(entries: Iterable[Entry]) -> list[asyncssh.SSHKey]:
    """Return the keys of known_hosts lines; one that asyncssh cannot read, nobody can offer."""
    keys = []
    for entry in entries:
        text = f"{entry.key_type} {base64.b64encode(entry.blob).decode('ascii')}"
        with suppress(asyncssh.KeyImportError):
            keys.append(asyncssh.import_public_key(text))
    return keys
