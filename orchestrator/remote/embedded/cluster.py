"""The embedded cluster: N nodes on this machine, each an SSH server on loopback in this process.

It is reached through the same `connect_all` as any other node and needs no sshd, root or set-up. It
accepts one temporary key that exists in memory only, runs commands as the current user, forwards
nothing, and ends with its `async with` block. Processes that started a session of their own keep
running, as on a real node.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

import asyncssh

from orchestrator.errors import LaunchError
from orchestrator.inventory import Host
from orchestrator.node import trust
from orchestrator.remote.ssh.channel import PACKET, WINDOW
from orchestrator.remote.ssh.connect import ConnectOptions, Trust

_LOOPBACK = "127.0.0.1"
_HANG_UP_WITHIN = 2.0  # seconds


class LocalCluster:
    """`count` nodes called local0, local1, ..., each with its own workdir under `root`.

    They share this machine's `gpus` (as in CUDA_VISIBLE_DEVICES) evenly. If there are fewer GPUs than
    nodes, the nodes see none, because two ranks cannot share a GPU.
    """

    def __init__(self, count: int, root: Path, gpus: Sequence[str] = ()) -> None:
        self._count = count
        self._gpus = tuple(gpus)
        self._root = root
        self._acceptors: list[asyncssh.SSHAcceptor] = []
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self._children: set[_Child] = set()
        self._trust = Trust(
            client_key=asyncssh.generate_private_key("ssh-ed25519"),
            host_key=asyncssh.generate_private_key("ssh-ed25519"),
        )
        self.hosts: tuple[Host, ...] = ()

    @property
    def options(self) -> ConnectOptions:
        """The options for `connect_all` to reach `hosts`."""
        return ConnectOptions(trust=self._trust)

    async def __aenter__(self) -> LocalCluster:
        try:
            for _ in range(self._count):
                self._acceptors.append(await self._listen())
            ports = [acceptor.get_port() for acceptor in self._acceptors]
            self.hosts = tuple(self._host(index, port) for index, port in enumerate(ports))
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def _listen(self) -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            _LOOPBACK,
            0,
            config=None,
            server_factory=lambda: _Server(self._trust, self._connections, self._children),
            server_host_keys=[self._trust.host_key],
            password_auth=False,
            kbdint_auth=False,
            host_based_auth=False,
            gss_host=None,
            agent_forwarding=False,
            x11_forwarding=False,
            allow_pty=False,
            allow_scp=False,
            encoding=None,
            window=WINDOW,
            max_pktsize=PACKET,
        )

    def _host(self, index: int, port: int) -> Host:
        name = f"local{index}"
        share = len(self._gpus) // self._count
        mine = self._gpus[index * share : (index + 1) * share]
        workdir = self._root / name / "work"
        try:
            trust.own_folder(str(workdir), str(self._root))
        except trust.Untrusted as error:
            raise LaunchError(
                f"its working folder {workdir} is not used: {error.path} {error.why}",
                node=name,
                remedy=f"{error.remedy}; or name another place with XDG_STATE_HOME",
            ) from None
        except OSError as error:
            raise LaunchError(
                f"its working folder {workdir} cannot be made: {error.strerror}",
                node=name,
                remedy="make room there, or name another place with XDG_STATE_HOME",
            ) from None
        return Host(
            name=name,
            address=_LOOPBACK,
            port=port,
            user="orch",  # any name: the key decides
            identity_file=None,
            known_hosts=None,
            proxy_jump=None,
            python=sys.executable,
            workdir=str(workdir),
            devices="auto",
            env={"CUDA_VISIBLE_DEVICES": ",".join(mine)} if self._gpus else {},
            launcher=None,
        )

    async def _close(self) -> None:
        for acceptor in self._acceptors:
            acceptor.close()
        for connection in list(self._connections):
            connection.abort()
            await connection.wait_closed()
        await asyncio.gather(*(child.hang_up() for child in list(self._children)))
        for acceptor in self._acceptors:
            await acceptor.wait_closed()


class _Server(asyncssh.SSHServer):
    """One connection to one node: accepts the cluster's key and runs commands."""

    def __init__(
        self,
        trust: Trust,
        connections: set[asyncssh.SSHServerConnection],
        children: set[_Child],
    ) -> None:
        self._trust = trust
        self._connections = connections
        self._children = children
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._connections.discard(self._connection)

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return key.public_data == self._trust.client_key.public_data

    def session_requested(self) -> _Session:
        return _Session(self._children)


class _Session(asyncssh.SSHServerSession[bytes]):
    """The channel side of one command."""

    def __init__(self, children: set[_Child]) -> None:
        self._children = children
        self._command = ""
        self._starting: asyncio.Task[None] | None = None
        self._child: _Child | None = None
        self.channel: asyncssh.SSHServerChannel[bytes] | None = None

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self.channel = chan

    def exec_requested(self, command: str) -> bool:
        self._command = command
        return True

    def session_started(self) -> None:
        self._starting = asyncio.create_task(self._start())

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        if self.channel is None:
            return
        self.channel.pause_reading()  # until there is a reader
        try:
            _, child = await loop.subprocess_exec(
                lambda: _Child(self, self._children),
                "/bin/sh",
                "-c",
                self._command,
                cwd=Path.home(),
                start_new_session=True,
            )
        except OSError as error:
            if self.channel is not None:
                self.channel.write_stderr(f"/bin/sh: {error}\n".encode())
                self.channel.exit(127)
            return
        self._child = child
        if self.channel is None:
            child.close_pipes()
        else:
            self.channel.resume_reading()

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if self._child is not None:
            self._child.feed(data)

    def eof_received(self) -> bool:
        if self._child is not None:
            self._child.feed_eof()
        return True  # output continues

    def pause_writing(self) -> None:
        if self._child is not None:
            self._child.pause_output()

    def resume_writing(self) -> None:
        if self._child is not None:
            self._child.resume_output()

    def connection_lost(self, exc: Exception | None) -> None:
        self.channel = None
        if self._child is not None:
            self._child.close_pipes()


class _Child(asyncio.SubprocessProtocol):
    """The process side of one command: its process and pipes."""

    def __init__(self, session: _Session, children: set[_Child]) -> None:
        self._session = session
        self._children = children
        self._transport: asyncio.SubprocessTransport | None = None
        self._gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self._children.add(self)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        channel = self._session.channel
        if channel is None or channel.is_closing():
            return
        if fd == 1:
            channel.write(data)
        else:
            channel.write_stderr(data)

    def pause_writing(self) -> None:
        """Stop reading from the channel: the command does not read its input."""
        if self._session.channel is not None:
            self._session.channel.pause_reading()

    def resume_writing(self) -> None:
        # Deferred: an end of input waiting in the channel would close the pipe within the pipe's own
        # callback, which asyncio treats as closing it twice.
        asyncio.get_running_loop().call_soon(self._take_more)

    def _take_more(self) -> None:
        if self._session.channel is not None:
            self._session.channel.resume_reading()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 0:  # further input is dropped
            self.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle the end of the command and its output."""
        self._children.discard(self)
        self._gone.set()
        channel = self._session.channel
        code = None
        if self._transport is not None:
            code = self._transport.get_returncode()
            self._transport.close()
        if channel is None or channel.is_closing() or code is None:
            return
        if code < 0:
            channel.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
        else:
            channel.exit(code)

    def feed(self, data: bytes) -> None:
        pipe = self._pipe(0)
        if pipe is not None and not pipe.is_closing():
            cast(asyncio.WriteTransport, pipe).write(data)

    def feed_eof(self) -> None:
        pipe = self._pipe(0)
        if pipe is not None and not pipe.is_closing():
            cast(asyncio.WriteTransport, pipe).write_eof()

    def pause_output(self) -> None:
        for fd in (1, 2):
            pipe = self._pipe(fd)
            if pipe is not None and not pipe.is_closing():
                cast(asyncio.ReadTransport, pipe).pause_reading()

    def resume_output(self) -> None:
        for fd in (1, 2):
            pipe = self._pipe(fd)
            if pipe is not None and not pipe.is_closing():
                cast(asyncio.ReadTransport, pipe).resume_reading()

    def close_pipes(self) -> None:
        """Close the pipes, as sshd does for a command whose channel is closed."""
        for fd in (0, 1, 2):
            pipe = self._pipe(fd)
            if pipe is not None:
                pipe.close()

    async def hang_up(self) -> None:
        """End a command that outlived its channel; processes in other sessions keep running."""
        for sign in (signal.SIGHUP, signal.SIGKILL):
            if self._transport is not None and not self._gone.is_set():
                with suppress(ProcessLookupError):
                    os.killpg(self._transport.get_pid(), sign)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._gone.wait(), _HANG_UP_WITHIN)

    def _pipe(self, fd: int) -> asyncio.BaseTransport | None:
        return None if self._transport is None else self._transport.get_pipe_transport(fd)
