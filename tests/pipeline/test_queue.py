"""Runs that use the nodes of a launch, and the names of new runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from orchestrator import events
from orchestrator.errors import NodeError, UsageError
from orchestrator.pipeline.queue import claim_nodes
from orchestrator.remote.fleet import Fleet
from orchestrator.ui import messages
from tests.plan.helpers import host

FREE = {"taken": False, "has": False, "users": [], "ahead": []}
TAKEN = FREE | {"taken": True}


class Nodes:
    """A fleet of nodes with given answers, one list for each request."""

    def __init__(self, *looks: list[Any]) -> None:
        self._looks = list(looks)
        self.hosts = [host(f"node{n}") for n in range(len(looks[0]))]
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def ask_all(self, verb: str, arguments: Any, **_: Any) -> list[Any]:
        self.asked.append((verb, arguments(0)))
        return self._looks.pop(0) if verb == "use" else [None] * len(self.hosts)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("orchestrator.pipeline.queue._POLL_INTERVAL", 0.001)
    return tmp_path


def names(*given: str) -> Any:
    iterator: Iterator[str] = iter(given)
    return lambda: next(iterator)


async def take(
    nodes: Nodes, *given: str, wait: bool = False
) -> tuple[str, list[events.NodesInUse]]:
    heard: list[events.Event] = []
    run = await claim_nodes(cast(Fleet, nodes), names(*given), heard.append, wait=wait)
    return run, [event for event in heard if isinstance(event, events.NodesInUse)]


async def test_name_of_a_run_here_or_on_a_node_is_skipped(state: Path) -> None:
    (state / "orch/runs/t-here").mkdir(parents=True)
    nodes = Nodes([FREE, TAKEN], [FREE | {"has": True}] * 2)
    assert (await take(nodes, "t-here", "t-there", "t-new"))[0] == "t-new"
    assert [(verb, said["run"]) for verb, said in nodes.asked] == [
        ("use", "t-there"),
        ("unuse", "t-there"),
        ("use", "t-new"),
    ]


async def test_claim_with_all_names_taken_is_refused() -> None:
    with pytest.raises(UsageError, match="names for the run are taken"):
        await take(Nodes(*[[TAKEN]] * 30), *["t-a"] * 30)


async def test_other_runs_on_the_nodes_are_reported_and_waited_for_only_if_requested(
    state: Path,
) -> None:
    (state / "orch/runs/train-lusab").mkdir(parents=True)
    used = FREE | {"has": True, "users": [["train-lusab", 725.0], ["eval-babad", 3]]}
    nodes = Nodes([used, used, FREE | {"has": True, "users": [["train-lusab", 700.0]]}])
    run, (emitted,) = await take(nodes, "t-new")
    assert run == "t-new" and emitted.place is None
    assert messages.nodes_in_use(emitted) == (
        "node[0-2] are in use by train-lusab, 12 min; node[0-1] are in use by eval-babad, 3 s; "
        "starting alongside them\n  → orch stop train-lusab stops it, --wait queues behind them"
    )


async def test_waiting_launch_claims_all_nodes_once_all_are_free() -> None:
    busy = FREE | {"users": [["a", 60.0]], "ahead": ["b", "c"]}
    has = FREE | {"has": True}
    looks = [[busy, FREE], [busy, FREE], [FREE | {"ahead": ["c"]}, FREE], [FREE] * 2, [has, FREE]]
    nodes = Nodes(*looks, [FREE] * 2, [has, has])
    run, emitted = await take(nodes, "t-new", wait=True)
    assert run == "t-new"
    assert [event.place for event in emitted] == [3, 2, 1]  # each once, when it changes
    assert messages.nodes_in_use(emitted[0]) == "node0 is in use by a, 1 min; waiting, 3rd in line"
    assert messages.nodes_in_use(emitted[1]) == "waiting, 2nd in line"
    assert [said["claim"] for _, said in nodes.asked] == [False] * 4 + [True, False, True]
    assert len({said["since"] for _, said in nodes.asked}) == 1


async def test_message_about_many_runs_has_their_number() -> None:
    used = FREE | {"has": True, "users": [[f"r-{n}", float(n)] for n in range(9)]}
    _, (emitted,) = await take(Nodes([used]), "t-new")
    first = messages.nodes_in_use(emitted).splitlines()[0]
    assert first.startswith("node0 is in use by r-8, 8 s; ")
    assert first.endswith("; and 6 more runs; starting alongside them")


@pytest.mark.parametrize("users", [7, [["a"]], [["a", "long"]], [[1, 2.0]], [["a", 1e400]]])
async def test_invalid_answer_to_use_is_an_error_of_that_node(users: Any) -> None:
    with pytest.raises(NodeError, match="node0: invalid answer to 'use'"):
        await take(Nodes([FREE | {"users": users}]), "t-new")


@pytest.mark.parametrize(
    ("place", "said"), [(1, "next"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (22, "22nd")]
)
def test_place_in_the_queue_is_an_ordinal(place: int, said: str) -> None:
    assert messages.nodes_in_use(events.NodesInUse((), place)) == f"waiting, {said} in line"
