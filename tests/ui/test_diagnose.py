"""What was found in logs, as a person sees it."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.api.diagnose import Examination, ReadProgress
from orchestrator.diagnose import Source, diagnose
from orchestrator.ui import diagnose as shown
from orchestrator.ui.diagnose import DiagnosedRun, DiagnosisView, Progress, rows
from orchestrator.ui.terminal import columns

FULL = "OSError: [Errno 28] No space left on device"
MISSING = "ModuleNotFoundError: No module named 'foo'"
VICTIM = "RuntimeError: Connection closed by peer [10.0.0.17]:4711"
OMP = "Setting OMP_NUM_THREADS environment variable for each process to be 1 in default"


def view(*lines: str) -> DiagnosisView:
    data = "".join(f"{line}\n" for line in lines).encode()
    diagnosis = diagnose([(Source("job.log"), [data])])
    return DiagnosisView(Examination(diagnosis, ("job.log",), len(data), ()))


def told(what: DiagnosisView, width: int = 80, *, everything: bool = False) -> list[str]:
    return [
        "".join(text for text, _ in row).rstrip()
        for row in rows(what, width, everything=everything)
    ]


def test_where_one_file_was_looked_at_its_name_stands_at_the_line_only() -> None:
    assert told(view("step 1", FULL, VICTIM)) == [
        "the disk is full",
        "  seen:   OSError: [Errno 28] No space left on device",
        "  in:     job.log:2",
        "  cause:  the file system that was written to has no space, or no inodes, left",
        "  fix:    `df -h` and `df -i` on this node: make room, or write elsewhere",
        "  check:  orch preflight --only disk",
        "",
        "then:   gloo lost a peer, after a rank that died",
        "",
        "looked at job.log, 108 B",
    ]


def test_where_nothing_better_is_found_what_followed_is_told_in_full() -> None:
    assert told(view(VICTIM))[0] == "gloo lost a peer, after a rank that died"
    assert "  fix:    look at the rank that failed first" in told(view(VICTIM))


def test_of_a_run_that_was_stopped_nothing_but_a_cause_is_told_in_full() -> None:
    run = DiagnosedRun("r", 0, "stalled", Path("/logs"), None, (), has_culprit=False)
    stopped = replace(view(VICTIM), run=run)
    assert told(stopped)[2] == "then:   gloo lost a peer, after a rank that died"
    assert not any("nothing known" in line for line in told(stopped))
    assert not stopped.explains
    assert "  seen:   " + FULL in told(replace(view(VICTIM, FULL), run=run))
    assert replace(view(VICTIM, FULL), run=run).explains


def test_a_run_that_succeeded_has_no_cause() -> None:
    run = DiagnosedRun("r", 0, "all 2 ranks succeeded", Path("/logs"), None, (), succeeded=True)
    fine = replace(view(MISSING), run=run)
    assert told(fine)[2] == "also:   a Python module is missing"
    assert not fine.explains


def test_all_tells_noise_too() -> None:
    assert told(view(OMP))[0] == "nothing known in job.log, 81 B"
    assert told(view(OMP), everything=True)[1].startswith("  seen:   Setting OMP_NUM_THREADS")


def test_of_very_many_causes_the_first_are_told_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shown, "MAX_TOLD", 1)
    lines = told(view(FULL, MISSING))
    assert lines[0] == "the disk is full"
    assert "also:   a Python module is missing" in lines
    assert "a Python module is missing" in told(view(FULL, MISSING), everything=True)


@pytest.mark.parametrize("width", [30, 40, 80, 200])
def test_no_row_is_wider_than_the_terminal_and_no_word_is_lost(width: int) -> None:
    what = view(FULL, MISSING, VICTIM)
    lines = told(what, width, everything=True)
    assert max(map(columns, lines)) <= width
    assert " ".join(" ".join(lines).split()) == " ".join(
        " ".join(told(what, sys.maxsize, everything=True)).split()
    )


def test_how_far_it_has_come_is_said_once_in_a_pipe_and_only_after_a_second(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    progress = Progress(3)
    for now in (100.5, 101.5, 102.5):
        progress(ReadProgress(int(now * 1e6), 1_000_000_000))
    progress.close()
    assert capfdbinary.readouterr().err == b"orch: reading 3 files: 101.5 MB of 1.0 GB\n"
