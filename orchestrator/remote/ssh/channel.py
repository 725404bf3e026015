"""A command on a node as a channel of bytes, over one SSH session."""

from __future__ import annotations

import signal

import asyncssh

from orchestrator.remote.channel import CHUNK_SIZE, StreamChannel
from orchestrator.remote.ssh.lean import log_no_packets
from orchestrator.util.text import printable

WINDOW = 4 << 20
PACKET = CHUNK_SIZE


class SshChannel(StreamChannel, asyncssh.SSHClientSession[bytes]):
    """The `Channel` of a node reached over SSH; it may have a pseudo-terminal."""

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._stdin = chan
        log_no_packets(chan)
        self._reader.set_source(chan)

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self._on_data(data, is_stderr=datatype is not None)

    def eof_received(self) -> bool:
        self._is_complete = True
        self._reader.feed_eof()
        return True  # standard input stays open

    def exit_status_received(self, status: int) -> None:
        self._on_exit(status)

    def exit_signal_received(self, name: str, core_dumped: bool, msg: str, lang: str) -> None:
        number = signal.Signals.__members__.get(f"SIG{name}", 0)  # 0: unknown on this system
        self._on_exit(128 + number)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._lost = f"the connection broke: {printable(str(exc))}"
        elif self._exit_code is not None:
            self._is_complete = True
        self._on_closed()

    def resize(self, columns: int, lines: int) -> None:
        """Report the size of the local terminal to the node."""
        if self._stdin is not None:
            self._stdin.change_terminal_size(columns, lines)

    def close(self) -> None:
        if self._stdin is not None:
            self._stdin.abort()
