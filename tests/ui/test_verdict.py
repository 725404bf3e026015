"""How the end of a run is shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator import events
from orchestrator.node.reasons import StopReason
from orchestrator.reasons import Stop
from orchestrator.ui import messages, verdict
from orchestrator.ui.terminal import columns, paint

ENDED = events.Ended("lusab", 1, 14.2, "rank 5 on node2 exited with 1", Path("/tmp/lusab"))
WHY = events.Explained(
    run="lusab",
    how="rank 5 on node2 exited with 1",
    node="node2",
    rank=5,
    code=1,
    signal=None,
    after=12.34,
    error="ValueError: no such batch",
    place="train.py:88 in step",
    signature="python.exception",
    meaning="the script raised an exception",
    cause="see the line that raised it",
    fix="correct it",
    check="",
    evidence="",
    channel="stderr",
    lines=("Traceback (most recent call last):", '  File "train.py", line 88, in step'),
    victims=(0, 1, 2, 3, 4, 6, 7),
    logs=Path("/tmp/lusab/logs/node2/attempt-0/rank-5.err"),
    command="orch logs lusab --rank 5 --stderr",
)


def screen(why: events.Explained | None = WHY, width: int = 80) -> list[str]:
    rows = verdict.rows(ENDED, why, width)
    return [paint(row, width, colour=False).decode().rstrip() for row in rows]


def test_failure_shows_error_place_cause_and_fix() -> None:
    assert screen() == [
        "orch: ✗ run lusab: rank 5 on node2 exited with 1 after 14.2 s",
        "      error:  ValueError: no such batch",
        "              at train.py:88 in step, 12.3 s after it started",
        "      cause:  the script raised an exception; see the line that raised it",
        "      fix:    correct it",
        "      stderr: │ Traceback (most recent call last):",
        '              │   File "train.py", line 88, in step',
        "      then:   7 ranks ended: r[0-4,6-7]",
        "      more:   orch logs lusab --rank 5 --stderr",
        "      logs:   /tmp/lusab/logs",
    ]


def test_run_that_succeeded_has_no_explanation() -> None:
    event = replace(ENDED, exit_code=0, summary="all 8 ranks succeeded")
    rows = [paint(row, 80, colour=True) for row in verdict.rows(event, None, 80)]
    assert rows == [
        "orch: \x1b[32m✓ run lusab: all 8 ranks succeeded after 14.2 s\x1b[0m".encode(),
        b"      logs: /tmp/lusab/logs",
    ]


FILES = events.FilesWritten("lusab", "node0", "~/orch/exp", 3, 1_200_000_000)


def test_end_shows_the_files_and_the_command_to_fetch_them() -> None:
    event = replace(ENDED, exit_code=0, summary="all 8 ranks succeeded")
    where = "node0:~/orch/exp (3 new, 1.2 GB)"

    def last(why: events.Explained | None, width: int, count: int) -> list[str]:
        rows = [paint(row, width, colour=False) for row in verdict.rows(event, why, width, FILES)]
        return [row.decode() for row in rows[-count:]]

    assert last(None, 80, 1) == [f"      files: {where} · orch fetch lusab"]
    assert last(WHY, 80, 1) == [f"      files:  {where} · orch fetch lusab"]
    assert last(None, 40, 3) == [
        "      files: node0:~/orch/exp",
        "             (3 new, 1.2 GB)",
        "             orch fetch lusab",
    ]
    assert last(None, 60, 2) == [f"      files: {where}", "             orch fetch lusab"]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_rows_fit_the_width_and_are_few(width: int) -> None:
    long = replace(
        WHY,
        error="ValueError: " + "word " * 500,
        cause="cause " * 100,
        fix="x" * 1000,
        evidence="記" * 300,
        check="memory",
        lines=("y" * 400, "語" * 300) * 5,
        victims=tuple(range(0, 512, 2)),
    )
    shown = screen(long, width)
    assert all(columns(line) <= width for line in shown)
    assert len(shown) < 36 if width < 80 else len(shown) <= 32


def test_output_of_a_rank_has_no_escape_sequences() -> None:
    rows = screen(replace(WHY, lines=("\x1b[2J\x07a\u202eb",), error="E: \x1b]0;x\x07"))
    assert "\x1b" not in "".join(rows)
    assert "\u202e" not in "".join(rows)


def test_failure_without_an_exception_shows_when_it_ended() -> None:
    shown = screen(replace(WHY, error="", place="", after=0.42))
    assert shown[1] == "      when:   0.42 s after it started"


def test_single_victim_is_named() -> None:
    assert "      then:   1 rank ended: r3" in screen(replace(WHY, victims=(3,)))


@pytest.mark.parametrize(
    ("how", "detail", "seconds", "said"),
    [
        ("rank 1 on node0 exited with 1", "", 0.4, "rank 1 on node0 exited with 1 after 0.40 s"),
        ("all 2 ranks succeeded", "", 43200.0, "all 2 ranks succeeded after 12 h 0 min"),
        (
            "all 2 ranks succeeded",
            ", without n2",
            5.0,
            "all 2 ranks succeeded after 5.0 s, without n2",
        ),
        ("lost contact with n1, n2", "", 5.0, "lost contact with n1, n2 after 5.0 s"),
        ("stalled", ": r1 get (t.py:11)", 9.3, "stalled after 9.3 s: r1 get (t.py:11)"),
        (
            "n1: is gone (attempt 1 of 2)",
            "; why",
            9.3,
            "n1: is gone (attempt 1 of 2) after 9.3 s; why",
        ),
    ],
)
def test_duration_of_a_run_follows_how_it_ended(
    how: str, detail: str, seconds: float, said: str
) -> None:
    event = replace(ENDED, summary=how + detail, detail=detail, seconds=seconds)
    assert messages.ended_after(event) == said


def test_duration_of_a_run_that_timed_out_is_its_time_limit() -> None:
    stop = Stop(StopReason.TIME_LIMIT, seconds=6)
    event = replace(ENDED, summary="timed out after 6 s", seconds=6.1, stop=stop)
    assert messages.ended_after(event) == "timed out after 6 s"


def test_stopping_does_not_repeat_where_ranks_stalled() -> None:
    stop = Stop(StopReason.STALL, text="r1 get (train.py:11): r[0,2-3] wait in all_reduce")
    event = events.Stopping(stop, 3.0)
    assert messages.stopping(event) == "stalled: stopping all ranks, 3 s of grace"


def test_check_that_finds_the_cause_is_offered() -> None:
    assert "      check:  orch preflight --only shm" in screen(replace(WHY, check="shm"))


@pytest.mark.parametrize("width", [40, 80, 160])
def test_places_that_orch_looked_at_follow_the_cause(width: int) -> None:
    looked = ("port 6543: process 71 listens on 0.0.0.0", "kernel log: not read (\x1b[2J)")
    shown = [
        "".join(text for text, _ in row)
        for row in verdict.explained(replace(WHY, looked=looked), width)
    ]
    start = next(index for index, row in enumerate(shown) if row.lstrip().startswith("looked:"))
    text = " ".join(" ".join(shown[start : start + 3]).split())
    assert text.startswith("looked: at port 6543: process 71 listens on 0.0.0.0; kernel log: not")
    assert "\x1b" not in text
    assert all(len(row) <= width for row in shown[start : start + 3])
    assert not any("looked:" in "".join(t for t, _ in row) for row in verdict.explained(WHY, width))
