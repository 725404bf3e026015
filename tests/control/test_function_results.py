"""What nodes answer when they are asked for the results of their ranks may be anything."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from orchestrator.control.function_results import ResultBudget, fetch_results, result_path
from orchestrator.errors import OrchError
from tests.runs.fakes import FakeAgent, FakeConnection
from tests.runs.helpers import plan_of

PLAN = plan_of(1)
NODE = PLAN.nodes[0]
RANK = NODE.first_rank


async def fetched(
    folder: Path, listed: Any, piece: Any = None, *, limit: int | None = 10_000_000
) -> list[OrchError]:
    agent = FakeAgent(answers={"list_results": listed, "read_result": piece})
    connection: Any = FakeConnection(agent)
    return await fetch_results(
        folder, PLAN, [(NODE, connection)], ResultBudget(limit), lambda event: None
    )


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def test_small_result_comes_with_the_list(tmp_path: Path) -> None:
    assert await fetched(tmp_path, [[RANK, 3, encoded(b"abc")]]) == []
    path = result_path(tmp_path, RANK)
    assert path.read_bytes() == b"abc"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_large_result_comes_in_pieces(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000

    def piece(asked: dict[str, Any]) -> str:
        return encoded(content[asked["offset"] :][: asked["length"]])

    assert await fetched(tmp_path, [[RANK, len(content), None]], piece) == []
    assert result_path(tmp_path, RANK).read_bytes() == content


@pytest.mark.parametrize(
    "listed",
    [
        None,
        5,
        [[RANK]],
        [["../x", 1, encoded(b"a")]],
        [[RANK, 10**30, None]],
        [[RANK, -1, None]],
        [[RANK, 5, encoded(b"abc")]],
        [[RANK, 3, "not base64!"]],
        [[RANK, 3, encoded(b"abc")], [RANK, 3, encoded(b"abd")]],
        [[True, 3, encoded(b"abc")]],
        {"a": 1},
    ],
    ids=str,
)
async def test_invalid_list_is_an_error_of_the_node_and_stores_nothing(
    tmp_path: Path, listed: Any
) -> None:
    (problem,) = await fetched(tmp_path, listed)
    assert problem.message.startswith(f"{NODE.name}: invalid answer")
    assert list((tmp_path / "results").iterdir()) == []


async def test_result_of_another_nodes_rank_is_ignored(tmp_path: Path) -> None:
    assert await fetched(tmp_path, [[RANK + 1, 3, encoded(b"abc")]]) == []
    assert list((tmp_path / "results").iterdir()) == []


async def test_result_over_the_limit_is_refused_before_a_byte_is_asked_for(tmp_path: Path) -> None:
    def piece(asked: dict[str, Any]) -> str:
        raise AssertionError(asked)

    (problem,) = await fetched(tmp_path, [[RANK, 10_000_000_000, None]], piece)
    assert "10.0 GB, more than result_limit allows" in problem.message
    assert problem.message.startswith(f"{NODE.name}: ")
    assert not result_path(tmp_path, RANK).exists()


@pytest.mark.parametrize("piece", ["", encoded(b"ab"), encoded(bytes(5_000_000)), None, 7, "!"])
async def test_piece_of_another_length_leaves_no_result(tmp_path: Path, piece: Any) -> None:
    (problem,) = await fetched(tmp_path, [[RANK, 3_000_000, None]], piece)
    assert problem.message.startswith(f"{NODE.name}: invalid answer to 'read_result'")
    assert list((tmp_path / "results").iterdir()) == []


async def test_link_in_place_of_a_result_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "precious").write_text("mine")
    result_path(tmp_path, RANK).with_suffix(".part").symlink_to(tmp_path / "precious")
    (problem,) = await fetched(tmp_path, [[RANK, 3, encoded(b"abc")]])
    assert "cannot be stored" in problem.message
    assert (tmp_path / "precious").read_text() == "mine"
