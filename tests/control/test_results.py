"""Lists of the files of a run come from nodes and may contain anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator import events
from orchestrator.control.results import (
    FetchOptions,
    FetchResult,
    RunWorkdir,
    fetch_from,
    files_written,
)
from orchestrator.errors import NodeError
from tests.runs.fakes import FakeAgent, FakeConnection
from tests.runs.helpers import plan_of

NODE = plan_of(1).nodes[0]
WORK = RunWorkdir("lusab", NODE, 0.0)


async def fetched(answer: Any, folder: Path) -> FetchResult:
    connection = FakeConnection(FakeAgent(answers={"changed": answer}))
    heard: list[events.Event] = []
    return await fetch_from(connection, WORK, folder, FetchOptions(dry_run=True), heard.append)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {"files": [], "cut": True},  # would be requested without end
        {"files": [["../x", 1, 1, 0, "file", "", 1]], "cut": False},
        {"files": [["x", 1]], "cut": False},
        {"files": "x", "cut": 0},
    ],
)
async def test_invalid_list_of_files_is_an_error_of_the_node(tmp_path: Path, answer: Any) -> None:
    result = await fetched(answer, tmp_path / "out")
    assert isinstance(result.problem, NodeError)
    assert result.problem.message.startswith(f"{NODE.name}: ")
    assert not (tmp_path / "out").exists()


async def test_list_of_files_is_requested_until_it_is_complete(tmp_path: Path) -> None:
    def answer(asked: dict[str, Any]) -> Any:
        name = {None: "a", "a": "b"}[asked["after"]]
        return {"files": [[name, 1, 1, 0o644, "file", "", 512]], "cut": name == "a"}

    result = await fetched(answer, tmp_path / "out")
    assert [file.path for file in result.files] == ["a", "b"]


async def test_list_of_files_without_end_is_refused(tmp_path: Path) -> None:
    part = [[f"{n:06}", 1, 1, 0o644, "file", "", 512] for n in range(50_000)]
    result = await fetched({"files": part, "cut": True}, tmp_path / "out")
    assert "more than 200,000 files" in str(result.problem)


async def test_files_written_are_counted_or_none() -> None:
    def agent(count: int) -> Any:
        return FakeAgent(answers={"written": {"files": count, "bytes": 5, "folder": "~/x\x1b"}})

    assert await files_written(agent(0), WORK, 1.0) is None
    emitted = await files_written(agent(2), WORK, 1.0)
    assert emitted == events.FilesWritten("lusab", NODE.name, "~/x", 2, 5)
