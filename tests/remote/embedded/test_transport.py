"""A reopened embedded cluster finds its nodes by name."""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import Unreachable
from orchestrator.remote.embedded.transport import EmbeddedTransport


async def test_reopened_cluster_reaches_the_hosts_of_the_closed_one(
    tmp_path: Path, home: Path
) -> None:
    async with EmbeddedTransport(2, tmp_path / "root") as first:
        hosts = first.hosts
        (node,) = await first.connect_all([hosts[1].model_copy(update={"port": 1})])
        assert not isinstance(node, Unreachable)
        await node.close()
    described = first.describe()
    async with EmbeddedTransport.parse(described) as second:
        watching = second.with_silence_limit(2.0)
        nodes = await watching.connect_all(hosts[::-1])
        assert [node.name for node in nodes if not isinstance(node, Unreachable)] == [
            "local1",
            "local0",
        ]
        for node in nodes:
            assert not isinstance(node, Unreachable)
            done = await node.run("echo here")
            assert done.stdout == b"here\n"
            await node.close()
