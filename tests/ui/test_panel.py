"""The panel of a running job: a few rows, whatever happens."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import events
from orchestrator.logs.stream import Channel, Stream
from orchestrator.node.reasons import StopReason
from orchestrator.plan import Job
from orchestrator.reasons import Stop
from orchestrator.ui.panel import Panel
from orchestrator.ui.terminal import columns

from ..preflight.contexts import make_context


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def panel(nodes: int = 2, devices: int = 8, clock: Callable[[], float] = lambda: 100.0) -> Panel:
    return Panel(make_context(nodes, job=Job("train.py", devices=devices)).plan, {}, clock=clock)


def texts(panel: Panel, width: int = 120, height: int = 24) -> list[str]:
    return ["".join(text for text, _ in row).rstrip() for row in panel.rows(width, height)]


def said(data: bytes, node: int = 0, rank: int = 0, channel: Channel = "stdout") -> events.Output:
    return events.Output(Stream(f"node{node}", 0, rank, 0, channel), 0, data, 0.0, Path())


def test_panel_has_a_row_for_the_run_and_for_each_node() -> None:
    clock = Clock()
    made = panel(clock=clock)
    made.update(events.RankBegan(0, 0, "node0", 0, 4711, 0.0))
    texts(made)
    clock.now += 65
    made.update(said(b"x" * 6_500_000 + b"\nepoch 1 step 120: loss=0.3421 lr=1e-4\n"))
    head, first, second = texts(made)
    assert head == (
        "── calm-fox · 1:05 · 16 ranks · 2 nodes · output 6.5 MB, 100.0 kB/s · Ctrl-C stops "
        "· Ctrl-\\ leaves it running"
    )
    assert first.split()[:3] == ["node0", "r0-7", "running"]
    assert first.endswith("printed r0 0 s ago, r1-7 never  epoch=1 step=120 loss=0.3421 lr=1e-4")
    assert second.split() == ["node1", "r8-15", "starting"]


def test_node_of_an_elastic_job_shows_its_current_ranks() -> None:
    made = panel()
    for local in range(8):
        made.update(events.RankBegan(8 + local, local, "node1", 0, 100 + local, 0.0))
    made.update(said(b"loss=5\n", node=1, rank=8))
    made.update(events.RankEnded(8, "node1", None, 15, 1.0))
    assert texts(made)[2].split()[:3] == ["node1", "r8-15", "r8"]
    made.update(events.RankBegan(0, 0, "node1", 0, 200, 2.0))
    assert texts(made)[2].split()[:3] == ["node1", "r0-7", "running"]
    made.update(said(b"loss=4\n", node=1, rank=0))
    assert texts(made)[2].endswith("loss=4")


def test_node_that_left_is_not_counted_and_stays_left() -> None:
    made = panel()
    made.update(events.NodeLost("node1", "the connection broke"))
    made.update(events.NodeLeft("node1", "could not be reached for 60 s", 1, 2))
    made.update(events.RankEnded(8, "node1", None, 9, 1.0))
    made.update(events.NodeLost("node1", "no route to host"))
    head, _, row, *_ = texts(made)
    assert "8 ranks · 1 node · " in head
    assert row.split()[:3] == ["node1", "r8-15", "left"]


def test_metrics_are_from_whole_lines_of_the_lowest_rank() -> None:
    made = panel()
    made.update(said(b"loss=5 step=1\n", rank=3))
    assert "loss=5 step=1" in texts(made)[1]
    made.update(said(b"loss=0.25 step=2\nloss=0.1", rank=0))
    made.update(said(b"a warning\n", rank=0, channel="stderr"))
    made.update(said(b"loss=7 step=1\n", rank=3))
    assert texts(made)[1].endswith("loss=0.25 step=2")
    made.update(said(b"25 step=3\n", rank=0))
    assert texts(made)[1].endswith("loss=0.125 step=3")
    made.update(said(b"nothing to see\n", rank=0))
    assert texts(made)[1].endswith("loss=0.125 step=3")


def test_problems_are_shown_at_their_node() -> None:
    clock = Clock()
    made = panel(3, clock=clock)
    for node in range(3):
        made.update(events.Following(f"node{node}"))
    made.update(events.NodeLost("node1", "the connection broke\nmore"))
    clock.now += 12
    made.update(events.RankEnded(17, "node2", None, 9, 0.0))
    rows = texts(made)
    assert "unreachable 12 s" in rows[2]
    assert "r17 SIGKILL" in rows[3]
    assert rows[4] == "! rank 17 on node2 was killed by SIGKILL"
    made.update(events.Stopping(Stop(StopReason.RANK_FAILED), 3.0))
    made.update(events.RankEnded(0, "node0", None, 15, 0.0))  # as requested
    made.update(events.NodeBack("node1", 12.0))
    made.update(events.NodeEnded("node1", "ended", ()))
    rows = texts(made)
    assert " · stopping · " in rows[0]
    assert "running" in rows[1]
    assert "ended" in rows[2]
    clock.now += 60
    assert len(texts(made)) == 4  # the notice has expired


def test_panel_of_an_ended_run_shows_how_to_skip_output() -> None:
    made = panel()
    made.update(events.Ended("a-run", 1, 2.5, "rank 0 on node0 exited with 1", Path()))
    rows = texts(made)
    assert " · ended · " in rows[0]
    assert rows[0].endswith("Ctrl-C skips the rest of the output")
    assert rows[-1] == "! rank 0 on node0 exited with 1"


def test_failure_of_a_restarted_rank_is_cleared() -> None:
    made = panel()
    made.update(events.RankEnded(3, "node0", 1, None, 0.0))
    assert "r3 exit 1" in texts(made)[1]
    made.update(events.RankBegan(3, 3, "node0", 1, 12, 0.0))
    assert "running" in texts(made)[1]


def test_many_nodes_share_rows_except_unusual_ones() -> None:
    made = panel(64)
    for node in range(64):
        made.update(events.Following(f"node{node}"))
    made.update(events.NodeLost("node7", "gone"))
    made.update(events.RankEnded(80, "node10", 1, None, 0.0))
    _, failed, unreachable, usual, _notice = texts(made)
    assert failed.split()[:4] == ["node10", "r80-87", "r80", "exit"]
    assert unreachable.split()[:3] == ["node7", "r56-63", "unreachable"]
    assert usual.split()[:3] == ["node[0-6,8-9,11-63]", "r0-55,64-79,88-511", "running"]


def test_many_unusual_nodes_share_rows() -> None:
    made = panel(64)
    for node in range(64):
        made.update(events.Following(f"node{node}"))
        if node % 2:
            made.update(events.NodeLost(f"node{node}", "gone"))
    rows = texts(made, height=12)
    assert len(rows) == 4
    assert "unreachable" in rows[1]
    assert "running" in rows[2]


def test_tiny_terminal_has_no_panel() -> None:
    assert panel().rows(80, 5) == []
    assert panel().rows(20, 40) == []


def test_ranks_that_printed_at_about_the_same_time_share_an_age() -> None:
    clock = Clock()
    made = panel(1, 4, clock=clock)
    made.update(events.Following("node0"))
    assert texts(made)[1].endswith("nothing printed")
    for rank in (0, 1, 2, 3):
        made.update(said(b"hello\n", rank=rank))
    clock.now += 3
    assert texts(made)[1].endswith("printed 3 s ago")
    clock.now += 177
    made.update(said(b"hello\n", rank=0))
    made.update(said(b"hello\n", rank=2, channel="stderr"))
    assert texts(made)[1].endswith("printed r0,2 0 s, r1,3 3 min ago")


def test_age_of_replayed_output_is_since_it_was_printed() -> None:
    clock = Clock()
    plan = make_context(1, job=Job("train.py", devices=2)).plan
    made = Panel(plan, {}, began=time.time() - 600, clock=clock)
    old = events.Output(Stream("node0", 0, 0, 0, "stdout"), 0, b"x\n", time.time() - 240, Path())
    made.update(old)
    # The past of the other rank is unknown: it may have printed.
    assert texts(made)[1].endswith("printed r0 4 min ago")


def test_rates_have_a_label() -> None:
    made = panel()
    made.update(said(b"x" * 1000))
    assert not re.search(r"(?<!output )\b[\d.]+ [kMG]?B(?!, )(?!/s)", texts(made)[0])
    assert "B/s" not in "".join(texts(made)[1:])


def test_metrics_of_stdout_are_preferred_to_stderr() -> None:
    made = panel()
    made.update(said(b"speed=5.0 loss=9.0\n", channel="stderr"))
    assert texts(made)[1].endswith("speed=5.0 loss=9.0")
    made.update(said(b"loss=0.5\n"))
    made.update(said(b"loss=7\n", channel="stderr"))
    assert texts(made)[1].endswith("  loss=0.5")


def test_metrics_stay_when_other_lines_follow() -> None:
    made = panel()
    for step in (1, 2):
        made.update(said(b"step=%d loss=0.5 tps=%d\n" % (step, 100 * step)))
        texts(made)
    made.update(said(b"val_acc=0.9\n"))
    made.update(said(b"saved checkpoint, shards=3\n"))
    made.update(said(b"UserWarning: retry=4 loss=99\nerr=12\n"))
    assert texts(made, 160)[1].endswith("step=2 loss=0.5 tps=200 val_acc=0.9")


def test_cut_line_has_no_metric() -> None:
    made = panel()
    made.update(said(b"train_loss=5 " + b"y" * 4078 + b"\nstep=3\n"))
    assert texts(made)[1].endswith("  step=3")


def use(busy: int | None, used: int = 62, total: int = 80) -> events.GpuUse:
    return events.GpuUse(0, busy, used << 30, total << 30)


def test_gpu_load_is_shown_until_it_is_old() -> None:
    clock = Clock()
    made = panel(clock=clock)
    for node in range(2):
        made.update(events.Following(f"node{node}"))
    made.update(events.GpusSampled("node0", (use(97), use(0, 9), use(None)), time.time()))
    _, first, second = texts(made)
    assert first.endswith("GPU 0-97% 62/80 GiB")
    assert "GPU" not in second
    clock.now += 61
    assert "GPU" not in texts(made)[1]


@pytest.mark.parametrize("width", [40, 80, 160])
def test_metrics_are_shown_in_any_width(width: int) -> None:
    made = panel()
    made.update(said(b"loss=0.25\n"))
    made.update(events.GpusSampled("node0", (use(97),) * 8, time.time()))
    row = texts(made, width)[1]
    assert "loss=0.25" in row[:width]
    assert ("GPU 97% 62/80 GiB" in row) == (width >= 80)


KINDS = st.sampled_from(["lost", "back", "rank", "began", "ended", "said", "stop", "warned"])


@given(
    st.lists(st.tuples(KINDS, st.integers(0, 39)), max_size=80),
    st.integers(40, 200),
    st.integers(6, 60),
    st.integers(1, 40),
)
def test_panel_takes_at_most_a_third_of_the_terminal(
    happened: list[tuple[str, int]], width: int, height: int, nodes: int
) -> None:
    made = panel(nodes, 2)
    for kind, number in happened:
        name = f"node{number}"
        choices: dict[str, events.Event] = {
            "lost": events.NodeLost(name, "日本語 " * 30),
            "back": events.NodeBack(name, 1.0),
            "rank": events.RankEnded(number * 2, name, 1, None, 0.0),
            "began": events.RankBegan(number * 2, 0, name, 1, 1, 0.0),
            "ended": events.NodeEnded(name, ("ended", "lost", "absent")[number % 3], ()),
            "said": said("損失=0.5 loss=0.1\n".encode(), number, number * 2),
            "stop": events.Stopping(Stop(StopReason.INTERRUPT), 3.0),
            "warned": events.Warned("look\nhere"),
        }
        made.update(choices[kind])
    rows = made.rows(width, height)
    assert 2 <= len(rows) <= max(2, height // 3)
    assert columns("".join(text for text, _ in rows[0])) <= width


def test_time_limit_is_shown_with_the_clock() -> None:
    clock = Clock()
    made = Panel(make_context(2, job=Job("train.py")).plan, {}, limit=5400.0, clock=clock)
    clock.now += 65
    assert "· 1:05 of 1:30:00 ·" in texts(made)[0]


SLOW = events.Straggling((2,), ("node1",), "run", "computes", 0.64, 0.21, "load (train.py:42)")


def test_straggler_stays_in_the_panel_until_it_is_taken_back() -> None:
    clock = Clock()
    made = panel(clock=clock)
    made.update(SLOW)
    clock.now += 1000
    text = "r2 on node1 holds up the others: computes 0.21 s a step (64% of the time) longer"
    assert texts(made)[-1] == f"! {text}: load (train.py:42)"
    made.update(events.Warned("something else"))
    assert texts(made)[-1] == "! something else"
    clock.now += 1000
    assert texts(made)[-1].startswith(f"! {text}")
    made.update(events.CaughtUp((2,), ("node1",)))
    assert texts(made)[-1] == "! r2 on node1 no longer holds up the others"
    clock.now += 1000
    assert not texts(made)[-1].startswith("!")


def test_straggler_is_forgotten_by_a_restart() -> None:
    made = panel()
    made.update(SLOW)
    made.update(events.Restarting(2, 3, "rank 1 exited with 1"))
    assert not any(text.startswith("!") for text in texts(made))
