"""OpenSSH's multiplexing protocol: what a program asks of a master over its control socket.

OpenSSH documents it in PROTOCOL.mux; the version is 4 since OpenSSH 5.6. A session's standard streams are
file descriptors that the master gets over the socket, so the bytes of a session pass no further process.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

_VERSION = 4
_HELLO = 0x00000001
_NEW_SESSION = 0x10000002
_ALIVE_CHECK = 0x10000004
_TERMINATE = 0x10000005
_PERMISSION_DENIED = 0x80000002
_FAILURE = 0x80000003
_EXIT_MESSAGE = 0x80000004
_ALIVE = 0x80000005
_SESSION_OPENED = 0x80000006
_TTY_ALLOC_FAIL = 0x80000008
_NO_ESCAPE = 0xFFFFFFFF
_MAX_PACKET = 256 * 1024
_ANSWER_TIMEOUT = 5.0  # seconds; a master answers at once unless it is stopped
_OPEN_TIMEOUT = 90.0  # longer than a master waits for a node that is silent
_END_TIMEOUT = 2.0
_ID = struct.pack(">I", 0)  # of the only request on a connection


class Gone(Exception):
    """The master has ended, or does not answer."""


class Refused(Exception):
    """The master answers that there will be no session, and why."""


class NoTerminal(Exception):
    """The server gives no pseudo-terminal."""


@dataclass(frozen=True)
class Request:
    """A session: `command` for the login shell (None: an interactive one).

    It has a terminal of the type `terminal` (None: it has none). The agent can be used if the master has
    ForwardAgent, and the session gets the variables of `environment` that SendEnv of the master names.
    """

    command: str | None
    terminal: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


class Session:
    """An open session."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def exit_code(self) -> int | None:
        """Wait for the exit code of the command; None if the session ends without one.

        That means that the connection broke, or that a signal ended the command. Raises NoTerminal.
        """
        with suppress(Gone):
            while True:
                kind, body = await _packet(self._reader)
                if kind == _EXIT_MESSAGE:
                    return int(struct.unpack_from(">I", body, 4)[0])
                if kind == _TTY_ALLOC_FAIL:
                    raise NoTerminal
        return None

    def close(self) -> None:
        """Close the session; the command sees closed pipes."""
        self._writer.close()


async def open_session(path: str, request: Request, streams: Sequence[int]) -> Session:
    """Open a session over the master at `path`, whose standard streams are the descriptors `streams`.

    Raises Gone and Refused.
    """
    has_terminal = request.terminal is not None
    # Reserved; a terminal, X11, the agent, a subsystem; the escape character.
    body = _string(b"") + struct.pack(">5I", has_terminal, 0, 1, 0, _NO_ESCAPE)
    variables = (f"{name}={value}" for name, value in request.environment.items())
    for text in (request.terminal or "", request.command or "", *variables):
        body += _string(os.fsencode(text))
    reader, writer = await _ask(path, _NEW_SESSION, body, streams)
    try:
        async with asyncio.timeout(_OPEN_TIMEOUT):
            kind, answer = await _answer(reader)
        if kind != _SESSION_OPENED:
            raise Refused(_reason(kind, answer))
    except TimeoutError as error:
        writer.close()
        raise Gone from error
    except BaseException:
        writer.close()
        raise
    return Session(reader, writer)


async def find_master(path: str) -> int | None:
    """Return the process id of the master at `path`; None if there is none, or it does not answer."""
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT):
            reader, writer = await _ask(path, _ALIVE_CHECK)
            try:
                kind, answer = await _answer(reader)
                return int(struct.unpack_from(">I", answer, 4)[0]) if kind == _ALIVE else None
            finally:
                writer.close()
    except (Gone, TimeoutError):
        return None


async def end_master(path: str) -> None:
    """Have the master at `path` end, with all its sessions; return once it has, after 2 s at the latest."""
    with suppress(Gone, TimeoutError):
        async with asyncio.timeout(_END_TIMEOUT):
            reader, writer = await _ask(path, _TERMINATE)
            try:
                while True:  # until it closes the socket
                    await _packet(reader)
            finally:
                writer.close()


async def _ask(
    path: str, kind: int, body: bytes = b"", streams: Sequence[int] = ()
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request with the descriptors `streams`; return its connection. Raises Gone."""
    sock = await _connect(path)
    try:
        request = _hello() + _message(kind, _ID + body)
        await asyncio.get_running_loop().sock_sendall(sock, request)
        for stream in streams:
            socket.send_fds(sock, [b"\0"], [stream])
        return await asyncio.open_unix_connection(sock=sock)
    except OSError as error:
        sock.close()
        raise Gone from error
    except BaseException:
        sock.close()
        raise


async def _connect(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, path)
    except OSError as error:
        sock.close()
        raise Gone from error
    except BaseException:
        sock.close()
        raise
    return sock


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return the first packet after the master's hello. Raises Gone at the end."""
    kind, body = await _packet(reader)
    return await _packet(reader) if kind == _HELLO else (kind, body)


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return the type and the body of the next packet. Raises Gone at the end."""
    try:
        (length,) = struct.unpack(">I", await reader.readexactly(4))
        if not 4 <= length <= _MAX_PACKET:
            raise Gone
        data = await reader.readexactly(length)
    except (asyncio.IncompleteReadError, OSError) as error:
        raise Gone from error
    return struct.unpack_from(">I", data)[0], data[4:]


def _hello() -> bytes:
    return _message(_HELLO, struct.pack(">I", _VERSION))


def _message(kind: int, body: bytes) -> bytes:
    return struct.pack(">II", 4 + len(body), kind) + body


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _reason(kind: int, body: bytes) -> str:
    if kind not in (_FAILURE, _PERMISSION_DENIED):
        return f"the master answers with {kind:#x}"
    (length,) = struct.unpack_from(">I", body, 4)
    return body[8 : 8 + length].decode("utf-8", "replace")
