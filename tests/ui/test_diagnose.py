"""How a diagnosis is shown."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.api.diagnose import DiagnosedRun, Examination, ReadProgress
from orchestrator.diagnose import Source, diagnose
from orchestrator.ui import diagnose as shown
from orchestrator.ui.diagnose import DiagnosisView, Progress, rows
from orchestrator.ui.terminal import columns

FULL = "OSError: [Errno 28] No space left on device"
MISSING = "ModuleNotFoundError: No module named 'foo'"
VICTIM = "RuntimeError: Connection closed by peer [10.0.0.17]:4711"
OMP = "Setting OMP_NUM_THREADS environment variable for each process to be 1 in default"


def view(*lines: str) -> DiagnosisView:
    data = "".join(f"{line}\n" for line in lines).encode()
    diagnosis = diagnose([(Source("job.log"), [data])])
    return DiagnosisView(Examination(diagnosis, ("job.log",), len(data), ()))


def shown_lines(what: DiagnosisView, width: int = 80, *, everything: bool = False) -> list[str]:
    return [
        "".join(text for text, _ in row).rstrip()
        for row in rows(what, width, everything=everything)
    ]


def test_name_of_a_single_file_is_shown_once() -> None:
    assert shown_lines(view("step 1", FULL, VICTIM)) == [
        "the disk is full (likely)",
        "  seen:   OSError: [Errno 28] No space left on device",
        "  in:     job.log:2",
        "  cause:  the file system has no space, or no inodes, left",
        "  fix:    free space (`df -h` and `df -i` on this node), or write elsewhere",
        "  check:  orch preflight --only disk",
        "",
        "then:   gloo lost a peer, after a rank that died",
        "",
        "read job.log, 108 B",
    ]


def test_symptom_without_a_cause_is_shown_in_full() -> None:
    assert shown_lines(view(VICTIM))[0] == "gloo lost a peer, after a rank that died"
    assert "  fix:    look at the rank that failed first" in shown_lines(view(VICTIM))


def test_stopped_run_shows_only_root_causes_in_full() -> None:
    run = DiagnosedRun("r", 0, "stalled", Path("/logs"), None, (), has_first_failure=False)
    stopped = replace(view(VICTIM), run=run)
    assert shown_lines(stopped)[2] == "then:   gloo lost a peer, after a rank that died"
    assert not any("no known problem" in line for line in shown_lines(stopped))
    assert not stopped.explains
    assert "  seen:   " + FULL in shown_lines(replace(view(VICTIM, FULL), run=run))
    assert replace(view(VICTIM, FULL), run=run).explains


def test_run_that_succeeded_shows_no_cause() -> None:
    run = DiagnosedRun("r", 0, "all 2 ranks succeeded", Path("/logs"), None, (), succeeded=True)
    fine = replace(view(MISSING), run=run)
    assert shown_lines(fine)[2] == "also:   a Python module is missing"
    assert not fine.explains


def test_everything_includes_noise() -> None:
    assert shown_lines(view(OMP))[0] == "no known problem in job.log, 81 B"
    assert shown_lines(view(OMP), everything=True)[1].startswith(
        "  seen:   Setting OMP_NUM_THREADS"
    )


def test_number_of_causes_in_full_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shown, "MAX_CAUSES", 1)
    lines = shown_lines(view(FULL, MISSING))
    assert lines[0] == "the disk is full (likely)"
    assert "also:   a Python module is missing" in lines
    every = shown_lines(view(FULL, MISSING), everything=True)
    assert "a Python module is missing (likely)" in every


@pytest.mark.parametrize("width", [30, 40, 80, 200])
def test_rows_fit_the_terminal_and_keep_all_words(width: int) -> None:
    what = view(FULL, MISSING, VICTIM)
    lines = shown_lines(what, width, everything=True)
    assert max(map(columns, lines)) <= width
    assert " ".join(" ".join(lines).split()) == " ".join(
        " ".join(shown_lines(what, sys.maxsize, everything=True)).split()
    )


def test_progress_in_a_pipe_is_one_line_after_a_second(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    progress = Progress(3)
    for now in (100.5, 101.5, 102.5):
        progress(ReadProgress(int(now * 1e6), 1_000_000_000))
    progress.close()
    assert capfdbinary.readouterr().err == b"orch: reading 3 files: 101.5 MB of 1.0 GB\n"
