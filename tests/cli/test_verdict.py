"""The cause of a failure, shown by every command that is asked later."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator import events
from orchestrator.runs.codec import encode

from .fake_run import FakeRun
from .orch import Orch


def why(run: FakeRun) -> events.Explained:
    return events.Explained(
        run="lusab-babad", how="rank 1 on n0 exited with 3", node="n0", rank=1, code=3, signal=None,
        after=5.0, error="ValueError: no", place="train.py:8 in step", signature="python.exception",
        meaning="the script raised an exception", cause="see there", fix="fix it", check="",
        evidence="", channel="stderr", lines=("Traceback (most recent call last):",),
        victims=(0, 2, 3), logs=run.path(1, "err"), command="orch logs lusab-babad --rank 1 --stderr",
    )  # fmt: skip


def failed(home: Path, *, logged: bool = True, recorded: bool = True) -> events.Explained:
    """Have a run fail, and why stand in its log, in its record, or in both."""
    run = FakeRun(home)
    verdict = why(run)
    if logged:
        run.note(verdict)
    run.end(3)
    if recorded:
        path = run.folder / "run.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "verdict": encode(verdict)}))
    return verdict


SCREEN = (
    "orch: ✗ run lusab-babad: rank 1 on n0 exited with 3 after 5.0 s\n"
    "      error:  ValueError: no\n"
    "              at train.py:8 in step, 5.0 s after it started\n"
)


def test_attach_to_a_failed_run_shows_the_cause(orch: Orch, tmp_path: Path) -> None:
    failed(tmp_path)
    done = orch("attach", "lusab-babad")
    assert done.returncode == 3
    assert done.stderr.count(SCREEN) == 1


def test_followed_logs_of_a_failed_run_show_the_cause(orch: Orch, tmp_path: Path) -> None:
    failed(tmp_path)
    assert SCREEN in orch("logs", "-f", "lusab-babad").stderr


def test_attach_shows_the_cause_from_the_record(orch: Orch, tmp_path: Path) -> None:
    """A disk may be full when the one is written, and not when the other is."""
    failed(tmp_path, logged=False)
    assert SCREEN in orch("attach", "lusab-babad").stderr


def test_attach_shows_the_cause_from_the_event_log(orch: Orch, tmp_path: Path) -> None:
    failed(tmp_path, recorded=False)
    assert SCREEN in orch("attach", "lusab-babad").stderr


def test_status_shows_the_verdict_as_text_and_json(orch: Orch, tmp_path: Path) -> None:
    verdict = failed(tmp_path)
    text = orch("status", "lusab-babad").stdout
    assert "      error:  ValueError: no\n" in text
    assert "      then:   3 ranks ended: r[0,2-3]\n" in text
    described = json.loads(orch("status", "--output", "json", "lusab-babad").stdout)
    assert described["verdict"] == json.loads(json.dumps(encode(verdict)))


def test_status_of_a_run_that_succeeded_has_no_verdict(orch: Orch, tmp_path: Path) -> None:
    FakeRun(tmp_path).end(0)
    assert json.loads(orch("status", "--output", "json").stdout)["verdict"] is None
