"""The table of one run: every rank in a pipe, one screen on a terminal, unusual ranks in their own rows."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from orchestrator import events
from orchestrator.api.status import AttemptStatus, NodeStatus, RankStatus, RunStatus
from orchestrator.runs.lock import Controller
from orchestrator.ui.status import lines, show
from orchestrator.ui.terminal import columns

NOW = 2000.0


def rank(number: int, **more: object) -> RankStatus:
    healthy = RankStatus(
        number, number % 8, "running", 4000 + number, None, None, 10**6, "loss=0.3", 1998.0
    )
    return dataclasses.replace(healthy, **more)  # type: ignore[arg-type]


def run(
    nodes: int, devices: int = 8, strange: Mapping[str, NodeStatus] = MappingProxyType({})
) -> RunStatus:
    """Return a run of healthy nodes, except for the strange ones."""
    rows = [
        NodeStatus(
            f"node{i}", "running", None, tuple(rank(i * devices + j) for j in range(devices))
        )
        for i in range(nodes)
    ]
    rows = [strange.get(row.name, row) for row in rows]
    return RunStatus(
        "a-run", "running", "", "torchrun", 1000.0, None, None, Path("/a-run/logs"),
        Controller(12, background=True), tuple(rows),
    )  # fmt: skip


STRANGE = {
    "node3": NodeStatus("node3", "unreachable", 1968.0, tuple(rank(24 + j) for j in range(8))),
    "node5": NodeStatus(
        "node5",
        "running",
        None,
        (
            *(rank(40 + j) for j in range(7)),
            rank(47, state="failed", exit_code=3, last_line="ValueError: \x1b[31mno\x1b[0m"),
        ),
    ),
    "node6": NodeStatus("node6", "absent", None, ()),
}


def test_failed_attempts_are_listed_before_the_summary() -> None:
    row = AttemptStatus(1, 0, 1000.0, 1090.0, 3, "rank 1 on node0 exited with 3")
    view = dataclasses.replace(run(1), summary="lost", failed=(row,))
    assert lines(view, NOW)[2:4] == [
        "      attempt 1 (1 min 30 s): rank 1 on node0 exited with 3",
        "      lost",
    ]


def test_pipe_gets_a_line_for_each_rank() -> None:
    shown = lines(run(64, strange=STRANGE), NOW)
    assert shown[:3] == [
        "run a-run: running; 64 nodes, 504 ranks, torchrun",
        "      started 16 min ago; controller: background pid 12",
        "      logs: /a-run/logs",
    ]
    assert " ".join(shown[3].split()) == "NODE RANK STATE EXIT PID LOGS OUTPUT LAST LINE"
    assert len(shown) == 4 + 504 + 1
    (failed,) = (line for line in shown if line.split()[1] == "r47")
    assert " ".join(failed.split()) == "node5 r47 failed 3 4047 1.0 MB 2 s ago ValueError: no"
    assert sum("unreachable 32 s" in line for line in shown) == 8
    assert any(line.split()[:3] == ["node6", "-", "absent"] for line in shown)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (160, 50)])
def test_many_ranks_fit_the_screen_and_unusual_ones_have_rows(width: int, height: int) -> None:
    shown = lines(run(64, strange=STRANGE), NOW, width, height)
    assert len(shown) < height
    assert max(map(columns, shown[:8])) <= width
    rows = [line.split() for line in shown[4:8]]
    assert rows[0][:3] == ["node[0-2,4-5,7-63]", "r0-23,32-46,56-511", "running"]
    assert rows[1][:4] == ["node3", "r24-31", "unreachable", "32"]
    assert rows[2][:4] == ["node5", "r47", "failed", "3"]
    assert rows[3][:3] == ["node6", "-", "absent"]


def test_ranks_of_a_node_share_a_row_if_nodes_have_room() -> None:
    shown = lines(run(8, strange=STRANGE), NOW, 160, 24)
    assert [line.split()[:2] for line in shown[4:]] == [
        ["node0", "r0-7"],
        ["node1", "r8-15"],
        ["node2", "r16-23"],
        ["node3", "r24-31"],
        ["node4", "r32-39"],
        ["node5", "r40-46"],
        ["node5", "r47"],
        ["node6", "-"],
        ["node7", "r56-63"],
    ]


def test_ended_ranks_show_exit_code_or_signal() -> None:
    ends = (
        rank(0, state="ended", exit_code=0), rank(1, state="killed", exit_code=137, signal="SIGKILL"),
    )  # fmt: skip
    shown = lines(run(1, strange={"node0": NodeStatus("node0", "ended", None, ends)}), NOW)
    assert [line.split()[2:4] for line in shown[4:]] == [["ended", "0"], ["killed", "SIGKILL"]]


def test_ended_run_shows_its_duration_and_no_controller() -> None:
    over = dataclasses.replace(run(1), state="ended", ended=1330.0, exit_code=0, controller=None)
    shown = lines(over, NOW)
    assert shown[0] == "run a-run: ended with exit code 0; 1 node, 8 ranks, torchrun"
    assert shown[1] == "      started 16 min ago, took 5 min 30 s"


def test_few_ranks_have_a_row_each() -> None:
    assert len(lines(run(2, 4), NOW, 80, 24)) in (4 + 8, 4 + 8 + 1)


def test_row_of_several_ranks_has_the_age_of_the_most_silent() -> None:
    silent = NodeStatus("node1", "running", None, tuple(rank(8 + j, said=1400.0) for j in range(8)))
    shown = lines(run(64, strange={"node1": silent}), NOW, 160, 24)
    assert "10 min ago" in shown[4]


def test_run_that_failed_to_start_has_no_ranks() -> None:
    view = dataclasses.replace(run(0), state="failed", summary="node0: no space\x07")
    shown = lines(view, NOW, 80, 24)
    assert shown[2] == "      node0: no space�"
    assert len(shown) == 5


def test_json_has_everything(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    view = run(64, strange=STRANGE)
    show(view, "json")
    document = json.loads(capfdbinary.readouterr().out)
    assert document == json.loads(json.dumps(dataclasses.asdict(view), default=str))
    assert len(document["nodes"]) == 64
    assert document["nodes"][5]["ranks"][7]["exit_code"] == 3
    assert document["nodes"][3]["unreachable_since"] == 1968.0


def test_causes_of_unreachable_nodes_are_listed_once() -> None:
    cause = "the connection broke\n  → see whether it is up"
    strange = {
        name: NodeStatus(name, "unreachable", 1968.0, (), cause) for name in ("node3", "node4")
    }
    shown = lines(run(8, strange=strange), NOW)
    assert shown[-1] == "node[3-4] cannot be reached: the connection broke"
    strange["node4"] = NodeStatus("node4", "left", None, (), "lost its launcher to SIGKILL")
    shown = lines(run(8, strange=strange), NOW)
    assert shown[-1] == "node4 left the run: lost its launcher to SIGKILL"
    assert all(row.cause == "" for row in run(2).nodes)


@pytest.mark.parametrize("width", [None, 40, 80, 160])
def test_stragglers_are_shown_above_the_table(width: int | None) -> None:
    slow = events.Straggling(
        (2,), ("node0",), "run", "computes", 0.64, 0.21, "load (\x1b[2Jt.py:42)"
    )
    view = dataclasses.replace(run(1), stragglers=(slow,))
    shown = lines(view, NOW, width, None if width is None else 24)
    table = next(i for i, line in enumerate(shown) if line.startswith("NODE"))
    about = " ".join(line.strip() for line in shown[3:table])
    assert about.startswith(
        "r2 on node0 holds up the others: computes 0.21 s a step (64% of the time)"
    )
    assert "\x1b" not in about
    assert all(columns(line) <= (width or 1000) for line in shown[3:table])
