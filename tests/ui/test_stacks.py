"""Where the ranks of a run are, as text and JSON."""

from __future__ import annotations

import json

import pytest

from orchestrator import events
from orchestrator.api.stacks import Stacks
from orchestrator.hangs.snapshot import StuckConnection
from orchestrator.ui import messages
from orchestrator.ui.stacks import describe, full_lines, lines, show
from tests.hangs.helpers import ALL_REDUCE, LOADER, TRAIN, process, snapshot

SYN = StuckConnection(103, True, ("10.0.0.2", 40000), ("10.0.0.1", 29500), 1, 3)


def view() -> Stacks:
    worker = process(3, TRAIN, pid=500, is_own=False, name="pt_data_worker")
    child = process(3, pid=501, is_own=False, name="sh", why="")
    return Stacks(
        "lusab",
        (
            snapshot("n0", process(0, ALL_REDUCE), process(1, ALL_REDUCE)),
            snapshot("n1", process(2, ALL_REDUCE), process(3, LOADER), worker, child),
        ),
        {"n2": "n2: away"},
        {"10.0.0.1": "n0"},
        {},
    )


def test_ranks_at_the_same_location_share_an_entry() -> None:
    groups = ["r[0-2] all_reduce (train.py:88)", "r3 next(loader) (data.py:40)"]
    suspect = f"suspect: {groups[1]}, below it train (train.py:88): r[0-2] wait in all_reduce"
    assert lines(view(), 80) == [" · ".join(groups), suspect]
    assert lines(view(), 40) == [*groups, suspect]


def test_stuck_connections_are_shown() -> None:
    stuck = Stacks(
        "lusab", (snapshot("n1", process(3, TRAIN), stuck=(SYN,)),), {}, {"10.0.0.1": "n0"}, {}
    )
    _, connection, suspect = lines(stuck, 80)
    assert connection.startswith("stuck: r3 n1: connecting to n0 (10.0.0.1:29500), no answer")
    assert suspect.startswith("suspect: n1 → n0: port 29500 of 10.0.0.1")
    assert full_lines(stuck)[-1] == connection


def test_no_running_rank_is_stated() -> None:
    assert lines(Stacks("lusab", (snapshot("n0"),), {}, {}, {}), 80) == ["no rank is running"]


def test_full_lines_have_every_thread_and_identical_ranks_once() -> None:
    shown = full_lines(view())
    heads = [line for line in shown if line and not line.startswith(" ")]
    assert heads == ["r[0-2] on n0, n1", "r3 on n1"]
    rest = shown[shown.index("r3 on n1") :]
    assert rest[:4] == [
        "r3 on n1",
        "  pid 103 python",
        "    MainThread",
        "      wait  /usr/lib/python3.11/threading.py:324",
    ]
    assert "  pid 500 pt_data_worker" in rest
    assert rest[-1] == "  pid 501 sh: no stack"


def test_json_has_everything(capfd: pytest.CaptureFixture[str]) -> None:
    show(view(), "json", full=False)
    document = json.loads(capfd.readouterr().out)
    assert document == json.loads(json.dumps(describe(view())))
    assert set(document) == {"run", "stacks", "stuck", "suspect", "nodes", "problems"}
    assert document["nodes"][1]["processes"][1]["threads"][0]["frames"][0]["function"] == "wait"
    assert document["problems"] == {"n2": "n2: away"}


def test_stall_is_reported_in_a_few_lines() -> None:
    stacks = ("r[0-2] all_reduce (train.py:88)", "r3 next(loader) (data.py:40)")
    assert messages.stalled(events.Stalled(61.2, stacks, ("a → b",), "r3")).split("\n      ") == [
        "no progress for 1 min 1 s:",
        "r[0-2] all_reduce (train.py:88) · r3 next(loader) (data.py:40)",
        "stuck: a → b",
        "suspect: r3",
    ]
    text = messages.stalled(events.Stalled(60, stacks * 2, (), ""))
    assert text.count("\n") == 4
