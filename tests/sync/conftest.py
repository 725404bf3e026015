"""Fixtures: a node on this machine, and two folders, here and there."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from orchestrator.inventory import Host
from orchestrator.remote.process import ProcessChannel
from tests.remote.fake import FakeNode


class Node(FakeNode):
    """A fake node that may rewrite scripts, and keeps its channel."""

    def __init__(self, name: str = "node0") -> None:
        super().__init__(Host(name=name, address="198.18.0.1"))
        self.rewrite: Callable[[str], str] = lambda script: script
        self.channel: ProcessChannel | None = None

    async def open(self, script: str) -> ProcessChannel:
        channel = self.channel = await super().open(self.rewrite(script))
        return channel


@pytest.fixture
async def make_node() -> AsyncIterator[Callable[[str], Node]]:
    nodes: list[Node] = []

    def make(name: str) -> Node:
        nodes.append(Node(name))
        return nodes[-1]

    yield make
    for node in nodes:
        await node.close()


@pytest.fixture
async def node(make_node: Callable[[str], Node]) -> Node:
    return make_node("node0")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


@pytest.fixture
def there(tmp_path: Path) -> Path:
    folder = tmp_path / "there"
    folder.mkdir()
    return folder


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], list[int]]:
    """Return a function that lists the processes of this test that are running."""
    mark = os.fsencode(f"ORCH_TEST={tmp_path}")
    monkeypatch.setenv("ORCH_TEST", str(tmp_path))

    def running() -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if mark in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
                except OSError:
                    continue  # ended, or another user's
        return found

    return running
