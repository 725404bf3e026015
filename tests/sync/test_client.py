"""The relay between rsync and orch, in every shell that may be /bin/sh."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import SyncError
from orchestrator.sync.client import _RELAY, Client
from orchestrator.sync.pipe import Pipe

SHELLS = [shell for shell in ("sh", "dash", "bash", "zsh", "ksh") if shutil.which(shell)]


@pytest.mark.parametrize("shell", SHELLS)
async def test_relay_passes_arguments_and_bytes_both_ways(shell: str) -> None:
    with closing(Pipe(to_child=False)) as up, closing(Pipe(to_child=True)) as down:
        relay = await asyncio.create_subprocess_exec(
            *(shell, "-c", _RELAY, str(down.inherited), str(up.inherited)),
            *("node", "rsync", "--server", "a b", "c\nd", "'\"$x"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(up.inherited, down.inherited),
        )
        up.close_inherited()
        down.close_inherited()
        assert relay.stdin is not None
        assert relay.stdout is not None
        client = Client(relay, up, down)
        relay.stdin.write(b"\0from rsync" * 1000)
        assert await client.command() == ["rsync", "--server", "a b", "c\nd", "'\"$x"]
        got = b""
        while len(got) < 11_000:
            got += await client.read()
        assert got == b"\0from rsync" * 1000

        await client.write(b"\0from the node")
        assert await relay.stdout.readexactly(14) == b"\0from the node"
        client.write_eof()
        assert await relay.stdout.read() == b""
        assert await asyncio.wait_for(relay.wait(), 10) == 0  # though its standard input is open
        relay.stdin.close()
        assert await asyncio.wait_for(client.read(), 10) == b""


class _FakePipe:
    """Replaces a pipe: `data` in pieces of `size`."""

    def __init__(self, data: bytes, size: int) -> None:
        self._pieces = [data[at : at + size] for at in range(0, len(data), size)]

    async def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


def client_of(data: bytes, size: int = 1000) -> Client:
    return Client(None, _FakePipe(data, size), None)  # type: ignore[arg-type]


@settings(deadline=None)
@given(
    words=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))),
    rest=st.binary(min_size=1),
    size=st.integers(1, 50),
)
def test_arguments_may_arrive_in_any_pieces(words: list[str], rest: bytes, size: int) -> None:
    argv = ["node", "rsync", "--server", *words]
    head = "".join(f"{word}\0" for word in [str(len(argv)), *argv]).encode()

    async def receive() -> tuple[list[str] | None, bytes]:
        client = client_of(head + rest, size)
        command = await client.command()
        got = b""
        while piece := await client.read():
            got += piece
        return command, got

    assert asyncio.run(receive()) == (argv[1:], rest)


async def test_command_other_than_an_rsync_server_is_refused() -> None:
    with pytest.raises(SyncError, match="unexpected command"):
        await client_of(b"4\0node\0rm\0-rf\0/\0").command()


async def test_rsync_that_ends_at_once_has_no_command() -> None:
    assert await client_of(b"").command() is None
    assert await client_of(b"4\0node\0rsy").command() is None
