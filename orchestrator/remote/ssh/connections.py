"""Open SSH connections: with a time limit each, few handshakes at once, each gateway only once.

A connection through a gateway holds the gateway's connection, which is closed when it is no longer
used.
"""

from __future__ import annotations

import asyncio
import base64
import random
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncssh

from orchestrator.errors import Unreachable
from orchestrator.remote.ssh import verdicts
from orchestrator.remote.ssh.algorithms import algorithms
from orchestrator.remote.ssh.config import ConfigParseError, Resolver, Target
from orchestrator.remote.ssh.dial import dial, resolve_name
from orchestrator.remote.ssh.host_keys import Entry, Known, KnownHosts
from orchestrator.remote.ssh.identities import KeyFiles
from orchestrator.remote.ssh.limits import DEFAULT_TIMEOUT, MAX_PER_ENDPOINT, RETRY_DELAYS
from orchestrator.remote.ssh.login import Login, Trust
from orchestrator.remote.ssh.verdicts import Verdicts
from orchestrator.util.bounded_read import Unreadable
from orchestrator.util.log import NODE, logger

_MAX_HANDSHAKES = 128
_KEEPALIVES_MISSED = 3
_DROPPED = re.compile(rb"kex_exchange_identification|Connection (?:closed|reset) by")  # of ssh
_CLOSE_TIMEOUT = 2.0  # seconds

log = logger("ssh")


@dataclass(frozen=True)
class ConnectOptions:
    """How to connect.

    `timeout` limits name look-up, TCP connection, handshake and authentication of a node together; None
    means ConnectTimeout of ssh_config, otherwise 10 s. `keepalive` is the interval of probes; three
    unanswered probes end a connection. Both are in seconds.
    """

    timeout: float | None = None
    accept_new: bool = False
    keepalive: float = 15.0
    trust: Trust | None = None

    def timeout_for(self, target: Target) -> float:
        """Return the limit for connecting to `target`, in seconds."""
        return self.timeout or target.connect_timeout or DEFAULT_TIMEOUT


class SshConnection:
    """One open SSH connection, and that of its gateway. `warnings` are about how it was made."""

    def __init__(
        self,
        connection: asyncssh.SSHClientConnection,
        via: SshConnection | None,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.connection = connection
        self.warnings: tuple[str, ...] = (*(via.warnings if via else ()), *warnings)
        self._via = via
        self._holders = 1
        if via is not None:
            via.hold()

    def hold(self) -> None:
        """Add a holder; each `hold` needs a `release`."""
        self._holders += 1

    async def release(self) -> None:
        """Remove a holder; the last one closes the connection and releases its gateway."""
        self._holders -= 1
        if self._holders:
            return
        self.connection.close()
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await self.connection.wait_closed()
        except TimeoutError:  # the peer is gone
            self.connection.abort()
        if self._via is not None:
            await self._via.release()


@dataclass(frozen=True)
class _Attempt:
    """A connection to be made to the node or gateway `name` through `hops`; `via` is the last hop."""

    name: str
    target: Target
    hops: tuple[Target, ...]
    via: SshConnection | None
    timeout: float

    @property
    def verdicts(self) -> Verdicts:
        return Verdicts(self.name, self.target)


class SshConnections:
    """The connections of one `connect_all`."""

    def __init__(self, options: ConnectOptions, resolver: Resolver) -> None:
        self._options = options
        self._resolver = resolver
        self._known_hosts = KnownHosts()
        self._key_files = KeyFiles()
        self._handshakes = asyncio.Semaphore(_MAX_HANDSHAKES)
        self._per_endpoint: dict[object, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(MAX_PER_ENDPOINT)
        )
        self._command_retries = asyncio.Semaphore(1)
        self._without_certificates: set[Target] = set()
        self._gateways: dict[tuple[Target, ...], asyncio.Task[SshConnection | Unreachable]] = {}

    async def __aenter__(self) -> SshConnections:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Release the gateways; unused ones are closed."""
        for task in self._gateways.values():
            task.cancel()
        for result in await asyncio.gather(*self._gateways.values(), return_exceptions=True):
            if isinstance(result, SshConnection):
                await result.release()

    async def open(self, name: str, target: Target) -> SshConnection | Unreachable:
        """Return a connection to `target` for the node `name`, or the reason for failure."""
        try:
            hops = await self._hops(target)
        except ConfigParseError as error:
            remedy = "correct proxy_jump, or ProxyJump in ~/.ssh/config"
            return Unreachable(name, "gateway", str(error), remedy)
        result = await self._open(name, target, hops)
        return verdicts.with_settings(result, target) if isinstance(result, Unreachable) else result

    async def _hops(self, target: Target) -> tuple[Target, ...]:
        """Return the gateways on the way to `target`, in order.

        The first hop of a ProxyJump may have a ProxyJump of its own, as for ssh -J.
        """
        hops: tuple[Target, ...] = ()
        jump, seen = target.proxy_jump, {(target.hostname, target.port)}
        while jump and jump.lower() != "none":
            chain = [
                await self._resolver.resolve_hop(hop.strip(), target.extra_known_hosts)
                for hop in jump.split(",")
            ]
            first = (chain[0].hostname, chain[0].port)
            if first in seen:  # `Host *` with a ProxyJump also applies to the gateway itself
                previous = hops[0] if hops else target
                is_own = first in ((each.hostname, each.port) for each in (target, previous))
                if is_own and len(chain) == 1:
                    break
                raise ConfigParseError(f"the gateways of {target.label} lead in a circle")
            seen.add(first)
            hops = (*chain, *hops)
            jump = chain[0].proxy_jump
        return hops

    async def _open(
        self, name: str, target: Target, hops: tuple[Target, ...]
    ) -> SshConnection | Unreachable:
        """Connect to `target` through `hops`; each gateway is connected to only once."""
        via: SshConnection | Unreachable | None = None
        if hops:
            if hops not in self._gateways:
                *before, last = hops
                opening = self._open(last.label, last, tuple(before))
                self._gateways[hops] = asyncio.create_task(opening)
            via = await asyncio.shield(self._gateways[hops])
        if isinstance(via, Unreachable):
            return verdicts.behind(name, via)
        return await self._connect(
            _Attempt(name, target, hops, via, self._options.timeout_for(target))
        )

    async def _connect(self, attempt: _Attempt) -> SshConnection | Unreachable:
        target = attempt.target
        # A ProxyCommand may lead through one gateway for all nodes, which drops what comes at once.
        endpoint: object = (attempt.hops, target.hostname, target.port)
        if attempt.via is None and target.proxy_command is not None:
            endpoint = "ProxyCommand"
        NODE.set(attempt.name)
        async with self._handshakes, self._per_endpoint[endpoint]:
            loop = asyncio.get_running_loop()
            start = loop.time()
            deadline = start + attempt.timeout
            log.debug("connecting to %s, within %g s", target.endpoint, attempt.timeout)
            result = await self._log_in_by_any_way(attempt, deadline)
            if isinstance(result, Unreachable) and target in self._without_certificates:
                log.debug("no known authority: asking for the plain host key, as ssh does")
                result = await self._log_in_by_any_way(attempt, deadline)
        took = loop.time() - start
        if isinstance(result, Unreachable):
            log.info("not connected after %.2f s: %s (%s)", took, result.message, result.cause)
        else:
            log.info("connected to %s as %s in %.2f s", target.endpoint, target.user, took)
        return result

    async def _log_in_by_any_way(
        self, attempt: _Attempt, deadline: float
    ) -> SshConnection | Unreachable:
        if attempt.via is not None:
            log.debug("through the gateway %s", attempt.hops[-1].label)
            return await self._log_in(attempt, deadline, tunnel=attempt.via.connection)
        if attempt.target.proxy_command is not None:
            return await self._log_in_by_command(attempt, deadline)
        return await self._log_in_directly(attempt, deadline)

    async def _log_in_directly(
        self, attempt: _Attempt, deadline: float
    ) -> SshConnection | Unreachable:
        """Connect by TCP; retry, while there is time, if sshd closes the connection at random.

        sshd does so if it has many handshakes at once, from any clients.
        """
        for delay in (*RETRY_DELAYS, None):
            sock = await _dial(attempt, deadline)
            if isinstance(sock, Unreachable):
                return sock
            result = await self._log_in(attempt, deadline, sock=sock)
            if delay is None or not isinstance(result, Unreachable):
                return result
            left = deadline - asyncio.get_running_loop().time()
            if not result.is_busy or left < 2 * delay:
                return result
            log.debug("sshd is busy: another try in about %g s", delay)
            await asyncio.sleep(delay * random.uniform(0.5, 1.5))
        raise AssertionError("the last round returns")

    async def _log_in_by_command(
        self, attempt: _Attempt, deadline: float
    ) -> SshConnection | Unreachable:
        """Connect through a ProxyCommand, which a shell runs, as for ssh.

        asyncssh would treat the command's standard error as bytes from the node, and its end as a closed
        connection. So it goes to a file, and the shell keeps its own standard error open.
        """
        result, stderr = await self._run_proxy(attempt, deadline)
        if not isinstance(result, Unreachable) or not _was_dropped(result, stderr):
            return result
        # One at a time, so that a gateway's MaxStartups lets it in.
        async with self._command_retries:
            for delay in RETRY_DELAYS:
                left = deadline - asyncio.get_running_loop().time()
                if left < 2 * delay:
                    break
                log.debug("sshd is busy: another try in about %g s", delay)
                await asyncio.sleep(delay * random.uniform(0.5, 1.5))
                result, stderr = await self._run_proxy(attempt, deadline)
                if not isinstance(result, Unreachable) or not _was_dropped(result, stderr):
                    break
        return result

    async def _run_proxy(
        self, attempt: _Attempt, deadline: float
    ) -> tuple[SshConnection | Unreachable, bytes]:
        """Return the connection through the ProxyCommand, or the verdict, and what the command printed."""
        log.debug("through a ProxyCommand")  # it may contain a password
        with tempfile.NamedTemporaryFile(prefix="orch-proxy-") as stderr:
            script = f'{{ {attempt.target.proxy_command}\n}} 2>"$0"; exit $?'
            command = ["/bin/sh", "-c", script, stderr.name]
            result = await self._log_in(attempt, deadline, proxy_command=command)
            said = stderr.read(4096)
        if isinstance(result, Unreachable):
            result = verdicts.by_command(result, said)
        return result, said

    async def _log_in(
        self, attempt: _Attempt, deadline: float, **way: Any
    ) -> SshConnection | Unreachable:
        """Log in over `way`, an argument of asyncssh.connect: `sock`, `tunnel` or `proxy_command`."""
        login = None
        try:
            login = Login(
                attempt.name,
                attempt.target,
                self._known_hosts,
                self._key_files,
                accept_new=self._options.accept_new,
                trust=self._options.trust,
            )
            log.debug("waiting for the SSH greeting of %s", attempt.target.endpoint)
            async with asyncio.timeout_at(deadline):
                connection = await asyncssh.connect(
                    attempt.target.hostname,
                    attempt.target.port,
                    config=None,
                    client_factory=lambda: login,
                    **way,
                    **self._settings(attempt.target, login.known),
                )
        except Unreadable as error:
            return attempt.verdicts.known_hosts_unreadable(error)
        except asyncssh.ChannelOpenError as error:
            return attempt.verdicts.not_through(attempt.hops[-1], error)
        except Exception as error:
            if login is None:
                raise
            # Neither bytes from the node nor asyncssh's errors about them may end the connections to other
            # nodes.
            if login.is_authority_unknown:
                self._without_certificates.add(attempt.target)
            return login.failure(error, attempt.timeout)
        finally:
            if "sock" in way and (login is None or login.connection is None):
                way["sock"].close()
            if login is not None and login.agent is not None:
                login.agent.close()
        return SshConnection(connection, attempt.via, login.warnings)

    def _settings(self, target: Target, known: Known) -> dict[str, Any]:
        """Return the arguments of asyncssh.connect that are the same for every `way`."""
        return {
            "username": target.user,
            # Only Login checks host keys and offers client keys.
            "known_hosts": ((), (), _keys(known.revoked)),
            "host_key_alias": target.host_key_alias,
            "client_keys": None,
            "x509_trusted_certs": None,
            # Login declines the last two; asyncssh asks for them if sshd accepts them.
            "preferred_auth": "publickey,keyboard-interactive,password",
            "password_auth": True,
            "kbdint_auth": True,
            "host_based_auth": False,
            "gss_host": None,
            "agent_forwarding": target.forward_agent or False,
            "tcp_keepalive": target.tcp_keepalive,
            "connect_timeout": None,  # the deadline covers it
            "login_timeout": 0,
            "keepalive_interval": self._options.keepalive,
            "keepalive_count_max": _KEEPALIVES_MISSED,
            "compression_algs": "none",
            **algorithms(target, known, certificates=target not in self._without_certificates),
        }


def _was_dropped(verdict: Unreachable, stderr: bytes) -> bool:
    """Return whether an sshd closed the connection before the login: the node's, or a gateway's."""
    return verdict.is_busy and (not stderr.strip() or _DROPPED.search(stderr) is not None)


async def _dial(attempt: _Attempt, deadline: float) -> Any:
    """Return a socket connected to the target, or the verdict."""
    target = attempt.target
    log.debug("looking up %s", target.hostname)
    try:
        async with asyncio.timeout_at(deadline):
            addresses = await resolve_name(target.hostname, target.port, target.family)
    except TimeoutError:
        return attempt.verdicts.name_timed_out(attempt.timeout)
    except OSError as error:
        return attempt.verdicts.not_connected(error, attempt.timeout)
    try:
        left = deadline - asyncio.get_running_loop().time()
        return await dial(addresses, target.bind_address, left)
    except OSError as error:
        return attempt.verdicts.not_connected(error, attempt.timeout)


def _keys(entries: Iterable[Entry]) -> list[asyncssh.SSHKey]:
    """Return the keys of known_hosts lines, except those that asyncssh cannot read."""
    keys = []
    for entry in entries:
        text = f"{entry.key_type} {base64.b64encode(entry.blob).decode('ascii')}"
        with suppress(asyncssh.KeyImportError):
            keys.append(asyncssh.import_public_key(text))
    return keys
