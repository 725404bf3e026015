"""A connection with a modern cipher sends no empty packets; with CBC it does, as asyncssh means it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh.connection import SSHConnection
from asyncssh.constants import MSG_IGNORE

from orchestrator.remote.ssh.lean import spare


@pytest.mark.parametrize(
    ("cipher", "are_sent"),
    [
        ("aes128-gcm@openssh.com", False),
        ("chacha20-poly1305@openssh.com", False),
        ("aes256-ctr", False),
        ("aes256-cbc", True),
    ],
)
def test_empty_packets_are_sent_with_cbc_only(
    cipher: str, are_sent: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    received: list[int] = []
    usual = SSHConnection.process_packet

    def count(self: Any, kind: int, *rest: Any) -> Any:
        if self.is_server():
            received.append(kind)
        return usual(self, kind, *rest)

    monkeypatch.setattr(SSHConnection, "process_packet", count)

    class Client(asyncssh.SSHClient):
        def connection_made(self, conn: Any) -> None:
            spare(conn)

    async def talk() -> str:
        key = asyncssh.generate_private_key("ssh-ed25519")

        async def serve(process: Any) -> None:
            process.stdout.write(await process.stdin.read())
            process.exit(0)

        server = await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[key], encryption_algs=[cipher],
            authorized_client_keys=asyncssh.import_authorized_keys(
                key.export_public_key().decode()
            ),
            process_factory=serve,
        )  # fmt: skip
        async with server:
            port = server.get_port()
            async with asyncssh.connect(
                "127.0.0.1", port, known_hosts=None, client_keys=[key], username="me", config=None,
                encryption_algs=[cipher], client_factory=Client,
            ) as connection:  # fmt: skip
                done = await connection.run("echo", input="text " * 20_000)
                return str(done.stdout)
        raise AssertionError

    assert asyncio.run(talk()) == "text " * 20_000
    assert (MSG_IGNORE in received) == are_sent
