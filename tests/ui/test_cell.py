"""A run in the cell of a notebook: updated in place, at most a few times a second, of bounded size."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from orchestrator import events
from orchestrator.logs.stream import Stream
from orchestrator.ui.cell import Bundle, CellDisplay

from .test_html import HOSTILE, read

OUT = Stream("node0", 0, 0, 0, "stdout")


class Cell:
    """Records what is published."""

    def __init__(self) -> None:
        self.outputs: list[Bundle] = []
        self.updates: list[bool] = []

    def __call__(self, bundle: Bundle, update: bool) -> None:
        self.outputs.append(bundle)
        self.updates.append(update)

    @property
    def text(self) -> str:
        return read(self.outputs[-1]["text/html"])


def output(text: str, stream: Stream = OUT) -> events.Output:
    return events.Output(stream, 0, text.encode(), 1.0, Path("x"))


def test_display_is_made_once_then_updated() -> None:
    cell = Cell()
    with CellDisplay(cell) as show:
        show(events.PhaseBegan("connect", ("node0", "node1")))
        show(events.PhaseAdvanced("connect", "node0", True))
    assert cell.updates[0] is False and all(cell.updates[1:])
    assert cell.text == cell.outputs[-1]["text/plain"] == "orch: connect, 1 of 2 nodes"


def test_many_lines_leave_the_last_ones_in_few_updates() -> None:
    cell = Cell()
    began = time.monotonic()
    with CellDisplay(cell) as show:
        for number in range(100):
            show(output("".join(f"line {number * 1000 + i} {HOSTILE}\n" for i in range(1000))))
    took = time.monotonic() - began
    assert len(cell.outputs) <= took / 0.4 + 2
    assert "99980 lines above: orch logs  --rank 0" in cell.text
    assert "line 99999 <script>" in cell.text and "line 99979 " not in cell.text
    assert max(len(text) for bundle in cell.outputs for text in bundle.values()) < 10_000


def test_only_rank_0_and_its_unfinished_line_are_shown() -> None:
    cell = Cell()
    with CellDisplay(cell) as show:
        show(output("mine\nunfini"))
        show(output("other\n", Stream("node1", 0, 1, 0, "stdout")))
        show(output("shed"))
    assert cell.text.endswith("rank 0mine\nunfinished")


def test_last_warnings_are_shown() -> None:
    cell = Cell()
    with CellDisplay(cell) as show:
        for number in range(9):
            show(events.Warned(f"warning {number} {HOSTILE}"))
    assert "warning 8" in cell.text and "warning 3" not in cell.text


def test_launch_that_fails_before_its_start_is_shown_as_not_started() -> None:
    cell = Cell()
    with pytest.raises(ValueError, match="no node"), CellDisplay(cell) as show:
        show(events.PhaseBegan("connect", ("node0",)))
        raise ValueError("no node")
    assert cell.text == "orch: not started"


def test_run_without_a_folder_is_shown_by_its_name(tmp_path: Path) -> None:
    cell = Cell()
    with CellDisplay(cell) as show:
        show(events.Started("a-run", tmp_path / "a-run" / "logs"))
    assert cell.text == "orch: run a-run"
