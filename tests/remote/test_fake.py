"""The fake node follows the same contract as the real one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from orchestrator.errors import ConnectionLost, NodeError
from orchestrator.inventory import Host
from orchestrator.remote.base import Channel, Node
from tests.remote.fake import FakeNode


async def test_fake_node_runs_scripts(make_host: Callable[..., Host]) -> None:
    node: Node = FakeNode(make_host("n"))
    result = await node.run("cat; echo err >&2; exit 4", input=b"in")
    assert (result.exit_code, result.stdout, result.stderr) == (4, b"in", b"err\n")
    assert (await node.run("kill -9 $$")).exit_code == 137
    await node.close()


async def test_fake_channel_sends_and_receives(make_host: Callable[..., Host]) -> None:
    node = FakeNode(make_host("n"))
    channel: Channel = await node.open('while read -r word; do echo "<$word>"; done')
    await channel.write(b"one\n")
    assert await channel.readline() == b"<one>\n"
    channel.write_eof()
    assert await channel.wait() == 0
    await node.close()


async def test_fake_node_with_a_fault_raises_it(make_host: Callable[..., Host]) -> None:
    node = FakeNode(make_host("n"), lambda s: NodeError("n", "full") if "df" in s else None)
    assert (await node.run("true")).exit_code == 0
    with pytest.raises(NodeError, match="full"):
        await node.run("df")
    assert node.scripts == ["true", "df"]
    await node.close()


async def test_dropped_fake_node_raises_connection_lost_on_every_channel(
    make_host: Callable[..., Host],
) -> None:
    node = FakeNode(make_host("n"))
    channel = await node.open("sleep 60")
    reading = asyncio.create_task(channel.read())
    node.drop()
    with pytest.raises(ConnectionLost):
        await reading
    with pytest.raises(ConnectionLost):
        await channel.wait()
    with pytest.raises(ConnectionLost):
        await node.open("true")
    await node.close()
