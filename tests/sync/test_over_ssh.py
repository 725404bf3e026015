"""A push over a real SSH connection, to the embedded cluster."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.errors import SyncError
from orchestrator.remote.embedded.cluster import LocalCluster
from orchestrator.remote.ssh.connect import SshNode, connect_all
from orchestrator.sync import Pushed, collect, push, push_all


@pytest.fixture
async def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[SshNode]]:
    monkeypatch.setenv("HOME", str(tmp_path))
    async with LocalCluster(3, tmp_path / "nodes") as cluster:
        results = await connect_all(cluster.hosts, cluster.options)
        nodes = [result for result in results if isinstance(result, SshNode)]
        assert len(nodes) == 3
        yield nodes
        for node in nodes:
            await node.close()


async def test_tree_arrives_on_every_node_over_one_connection_each(
    nodes: list[SshNode], here: Path, tmp_path: Path
) -> None:
    (here / "a b").mkdir()
    (here / "a b/\udcff'$x\n").write_text("x")
    data = os.urandom(1 << 20) * 32
    (here / "data.bin").write_bytes(data)
    targets = []
    for number, node in enumerate(nodes):
        (tmp_path / f"w {number}").mkdir()
        targets.append((node, str(tmp_path / f"w {number}")))
    for files in (2, 0):
        results = await push_all([(*target, collect(here)) for target in targets])
        assert [isinstance(result, Pushed) and result.files for result in results] == [files] * 3
    for _, destination in targets:
        assert (Path(destination) / "data.bin").read_bytes() == data
        assert (Path(destination) / "a b/\udcff'$x\n").read_text() == "x"


async def test_error_on_the_node_is_reported(nodes: list[SshNode], here: Path, there: Path) -> None:
    (here / "train.py").write_text("x")
    (there / "train.py").mkdir()
    (there / "train.py/kept").write_text("x")
    with pytest.raises(SyncError, match=r"local0: a folder below .*\n    could not make way"):
        await push(nodes[0], collect(here), str(there))


async def test_broken_connection_is_reported(nodes: list[SshNode], here: Path, there: Path) -> None:
    (here / "train.py").write_text("x")
    await nodes[0].close()
    with pytest.raises(SyncError, match=r"(?s)^local0: .*connection.*→"):
        await push(nodes[0], collect(here), str(there))
