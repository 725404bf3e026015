"""GPU utilisation: sampled on the nodes, and read by `orch attach` in another process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestrator import events
from orchestrator.control import gpus
from orchestrator.control.follower import Follower
from orchestrator.control.gpus import GpuReader, GpuWatch
from tests.runs.fakes import FakeAgent, FakeConnection, until

GIB = 1 << 30
ONE = {"index": 0, "uuid": "GPU-1", "busy": 97, "used": 62 * GIB, "total": 80 * GIB}
TWO = {"index": 1, "uuid": "GPU-2", "busy": None, "used": None, "total": None}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "_FIRST_DELAY", 0.01)
    monkeypatch.setattr(gpus, "_INTERVAL", 0.01)


def node(agent: FakeAgent, devices: int = 2, visible: str | None = None) -> Follower:
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    plan = SimpleNamespace(environment=environment, devices=devices)
    connection = FakeConnection(agent)
    return cast(
        Follower, SimpleNamespace(name="node0", connection=connection, plan=plan, has_ended=False)
    )


def answer(*found: dict[str, Any], answered: bool = True) -> dict[str, Any]:
    return {"gpus": list(found), "answered": answered}


async def watched(agent: FakeAgent, folder: Path, **more: Any) -> list[events.Event]:
    """Return the events until there is one sample, or none will come."""
    emitted: list[events.Event] = []
    watching = asyncio.create_task(GpuWatch(folder, emitted.append).watch(node(agent, **more)))
    try:
        await until(lambda: bool(emitted) or watching.done())
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    return emitted


async def test_gpus_of_the_ranks_are_emitted_and_written(tmp_path: Path) -> None:
    agent = FakeAgent(answers={"gpus": answer(ONE, TWO)})
    (sample, *_) = await watched(agent, tmp_path, visible="3,4")
    assert isinstance(sample, events.GpusSampled)
    assert sample.gpus == (
        events.GpuUse(0, 97, 62 * GIB, 80 * GIB),
        events.GpuUse(1, None, None, None),
    )
    assert agent.asked[0][1]["visible"] == "3,4"
    reader = GpuReader(tmp_path)
    assert [each.gpus for each in reader.news()] == [sample.gpus]
    assert list(reader.news()) == []


async def test_gpus_beyond_those_of_the_ranks_are_left_out(tmp_path: Path) -> None:
    agent = FakeAgent(answers={"gpus": answer(ONE, TWO)})
    (sample, *_) = await watched(agent, tmp_path, devices=1)
    assert isinstance(sample, events.GpusSampled)
    assert len(sample.gpus) == 1


@pytest.mark.parametrize("said", [answer(), answer(ONE, answered=False)])
async def test_node_without_gpus_is_not_asked_again(tmp_path: Path, said: dict[str, Any]) -> None:
    agent = FakeAgent(answers={"gpus": said})
    assert await watched(agent, tmp_path) == []
    assert len(agent.asked) == 1


async def test_node_that_is_away_or_answers_nonsense_is_asked_again(tmp_path: Path) -> None:
    replies = iter([{"gpus": 3}, {"gpus": [{**ONE, "busy": 1e9}], "answered": True}])
    agent = FakeAgent(answers={"gpus": lambda _: next(replies, answer(ONE))})
    assert len(await watched(agent, tmp_path)) == 1
    assert len(agent.asked) == 3


async def test_sample_is_emitted_on_a_full_disk(tmp_path: Path) -> None:
    agent = FakeAgent(answers={"gpus": answer(ONE)})
    assert await watched(agent, tmp_path / "missing")


@pytest.mark.parametrize("text", ["", "[", "3", '[{"node": 1}]', '[{"a": []}]', "[[]]"])
def test_invalid_samples_file_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / gpus.GPUS).write_text(text)
    assert list(GpuReader(tmp_path).news()) == []
