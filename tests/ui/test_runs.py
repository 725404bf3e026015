"""The table of runs fits a terminal; a pipe gets all columns."""

from __future__ import annotations

import json

import pytest

from orchestrator.api.status import RunSummary
from orchestrator.runs.lock import Controller
from orchestrator.ui.runs import lines, show
from orchestrator.ui.terminal import columns

LIVE = RunSummary(
    "lusab-babad", "running", 64, 512, "torchrun", 1e9, 3725.0, None,
    "train.py --epochs 3 --lr 0.001 --config configs/large.yaml", None, 1_234_567_890, "",
    Controller(4711, background=True),
)  # fmt: skip
FAILED = RunSummary(
    "puloh-vogol", "failed", 2, 4, "fabric", 1e9, 90_000.0, 320.0, "日本語/loop.py", 3, 12_345,
    "rank 1 on node0 exited with 3", None,
)  # fmt: skip


def test_pipe_gets_all_columns() -> None:
    heading, live, failed = lines([LIVE, FAILED])
    assert " ".join(heading.split()) == (
        "RUN STATE EXIT AGE TOOK NODES RANKS LAUNCHER LOGS SCRIPT SUMMARY"
    )
    assert " ".join(live.split()).startswith("lusab-babad running - 1 h - 64 512 torchrun 1.2 GB")
    assert live.endswith("train.py --epochs 3 --lr 0.001 --config configs/large.yaml")
    assert " ".join(failed.split()).startswith("puloh-vogol failed 3 1 d 5 min 20 s 2 4 fabric")
    assert failed.endswith("rank 1 on node0 exited with 3")
    assert columns(failed[: failed.index("rank")]) == columns(heading[: heading.index("SUMMARY")])


@pytest.mark.parametrize("width", [40, 80, 100, 160])
def test_terminal_gets_one_line_per_run_that_fits(width: int) -> None:
    shown = lines([LIVE, FAILED], width)
    assert max(map(columns, shown[:3])) <= width
    assert shown[1].startswith("lusab-babad  running")
    assert "train." in shown[1]
    assert (len(shown) == 4) == (width < 120)  # hidden columns are named
    if width < 120:
        assert shown[3].startswith("(summary")
        assert shown[3].endswith("in a wider terminal, or --output json)")


def test_outcome_is_coloured() -> None:
    _, live, failed = lines([LIVE, FAILED], 160, colour=True)
    assert "\x1b[32mrunning\x1b[0m" in live
    assert "\x1b[31m3\x1b[0m" in failed


def test_no_runs_give_a_heading_or_an_empty_list(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    show([], "text")
    show([], "json")
    assert capfdbinary.readouterr().out.decode().split("\n")[0].startswith("RUN  STATE")


def test_json_has_everything(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    show([LIVE, FAILED], "json")
    live, failed = json.loads(capfdbinary.readouterr().out)
    assert list(live) == list(failed)
    assert (live["run"], live["exit_code"], live["bytes"]) == ("lusab-babad", None, 1_234_567_890)
    assert (failed["state"], failed["exit_code"], failed["script"]) == (
        "failed",
        3,
        "日本語/loop.py",
    )
