"""Pods as nodes: the real kubectl, and an API server that runs commands on this machine."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.errors import Unreachable
from orchestrator.inventory import Host
from orchestrator.remote.base import Node
from orchestrator.remote.transports import create

from .kubernetes import Cluster

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


@pytest.fixture
async def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    """A cluster that kubectl finds, with the pod `train-0`."""
    async with Cluster("train-0") as cluster:
        cluster.write_config(tmp_path / "config")
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        monkeypatch.setenv("HOME", str(tmp_path))
        yield cluster


async def reach(name: str) -> Node | Unreachable:
    transport = create("kubectl", namespace="ml", context="lab", timeout=30.0)
    (result,) = await transport.connect_all([Host(name=name)])
    return result


async def test_pod_runs_scripts_with_their_streams(cluster: Cluster) -> None:
    node = await reach("train-0")
    assert not isinstance(node, Unreachable), node
    done = await node.run("cat; echo err >&2; exit 4", input=bytes(range(256)) * 100)
    assert (done.exit_code, done.stderr) == (4, b"err\n")
    assert done.stdout == bytes(range(256)) * 100
    channel = await node.open('while read -r word; do echo "<$word>"; done')
    for word in (b"one", b"two"):
        await channel.write(word + b"\n")
        assert await channel.readline() == b"<%b>\n" % word
    channel.write_eof()
    assert await channel.wait() == 0
    await node.close()


async def test_missing_pod_is_reported(cluster: Cluster) -> None:
    verdict = await reach("train-9")
    assert isinstance(verdict, Unreachable)
    assert 'pods "train-9" not found' in verdict.message
    assert verdict.remedy == "list the pods with: kubectl get pods --all-namespaces"
