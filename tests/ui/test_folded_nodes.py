"""Output of many nodes: identical output is shown once, and nothing is lost."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.inventory.ranges import expand
from orchestrator.ui import folded_nodes
from orchestrator.ui.folded_nodes import FoldedNodes


async def feed(chunks: list[tuple[str, bytes]], nodes: list[str]) -> None:
    async with FoldedNodes(nodes) as folded:
        for node, data in chunks:
            await folded.show(node, data)


def lines_of(shown: str) -> dict[str, list[str]]:
    """Return the lines that are shown for each node."""
    found: dict[str, list[str]] = {}
    for line in shown.splitlines():
        names, _, text = line.partition("│ ")
        for name in expand(names.strip()):
            found.setdefault(name, []).append(text)
    return found


PIECES = st.tuples(st.sampled_from(["n0", "n1", "n2"]), st.sampled_from([b"a\n", b"b", b"\n"]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PIECES, max_size=12))
def test_identical_output_of_nodes_is_shown_once(
    capfd: pytest.CaptureFixture[str], chunks: list[tuple[str, bytes]]
) -> None:
    nodes = ["n0", "n1", "n2"]
    asyncio.run(feed(chunks, nodes))
    shown = capfd.readouterr().out
    whole = {name: b"".join(data for node, data in chunks if node == name) for name in nodes}
    assert lines_of(shown) == {
        name: data.decode().removesuffix("\n").split("\n") for name, data in whole.items() if data
    }
    heads = {line.partition(" │")[0] for line in shown.splitlines()}
    assert len(heads) == len({data for data in whole.values() if data})


def test_output_beyond_the_limit_is_shown_as_it_comes(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folded_nodes, "_MAX_HELD", 10)
    chunks = [("n0", b"0123456\n"), ("n1", b"small\n"), ("n0", b"0123456\n"), ("n0", b"last\n")]
    asyncio.run(feed(chunks, ["n0", "n1"]))
    assert capfd.readouterr().out.splitlines() == [
        "n0 │ 0123456",
        "n0 │ 0123456",
        "n0 │ last",
        "n1 │ small",
    ]


def test_output_beyond_memory_is_kept_in_a_file(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folded_nodes, "_MAX_IN_MEMORY", 100)
    data = b"x" * 999 + b"\n"
    asyncio.run(feed([(name, data) for name in ("n0", "n1") for _ in range(3)], ["n0", "n1"]))
    assert capfd.readouterr().out.splitlines() == [f"n[0-1] │ {'x' * 999}"] * 3
