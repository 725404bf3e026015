"""Run folders of orch 0.1.0, with sentences where there are values now: they open and show the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from orchestrator.api.diagnose import evidence_of, logs_of
from orchestrator.api.status import status_of
from orchestrator.api.watch import end_of
from orchestrator.control.first_failure import NodeState
from orchestrator.control.verdict import judge
from orchestrator.logs.replay import Replay
from orchestrator.node import records
from orchestrator.node.reasons import StopReason
from orchestrator.reasons import Stop
from orchestrator.remote.reports import RankReport, StatusReport, parse
from orchestrator.runs.saved_run import SavedRun, load_run
from orchestrator.runs.state import state_of
from orchestrator.runs.stop_request import find_stop_request
from orchestrator.ui.verdict import rows

RECORDED = Path(__file__).parents[1] / "recorded/runs"
SENDER = Stop(StopReason.SUPERVISOR_SIGNALLED, signal=15, pid=10396).of_node("local1")
PLACE = "r[0-1] <module> (slow.py:3)"
# run: exit code, outcome, a part of the status page, and why its nodes were stopped
RUNS = {
    "succeeded": (0, "succeeded", "all 2 ranks succeeded after", None),
    "failed": (1, "failed", "rank 1 on local1 exited with 1 after", Stop(StopReason.RANK_FAILED)),
    "timed-out": (
        124,
        "stopped",
        "timed out after 2 s",
        Stop(StopReason.TIME_LIMIT, seconds=2.0),
    ),
    "stalled": (1, "failed", "stalled after 3.2 s: r[0-1]", Stop(StopReason.STALL, text=PLACE)),
    "stopped": (130, "stopped", "stopped by orch stop after", Stop(StopReason.STOP_REQUEST)),
    "interrupted": (130, "stopped", "stopped by an interrupt after", Stop(StopReason.INTERRUPT)),
    "signalled": (1, "stopped", "local1 stopped after 5.2 s: the supervisor was", SENDER),
}
REWORDED = {"signalled": "local1 stopped: the supervisor received SIGTERM from process 10396"}


def opened(run: str, tmp_path: Path) -> SavedRun:
    """Return a copy of a recorded run with the owner and the modes that it must have."""
    folder = tmp_path / json.loads((RECORDED / run / "run.json").read_text())["run"]
    shutil.copytree(RECORDED / run, folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    saved = load_run(folder)
    assert saved is not None
    return saved


@pytest.mark.parametrize("run", RUNS)
def test_status_of_old_run_shows_how_it_ended(run: str, tmp_path: Path) -> None:
    exit_code, outcome, said, why = RUNS[run]
    saved = opened(run, tmp_path)
    assert (saved.exit_code, saved.outcome) == (exit_code, outcome)
    shown = "\n".join("".join(text for text, _ in row) for row in rows(end_of(saved), None, 200))
    assert said in shown
    if run == "timed-out":
        assert "2 s after" not in shown
    assert state_of(saved.folder).stopping == why
    assert [node.state for node in status_of(saved).nodes] == ["ended", "ended"]


@pytest.mark.parametrize("run", RUNS)
def test_logs_and_evidence_of_old_run_are_read(run: str, tmp_path: Path) -> None:
    saved = opened(run, tmp_path)
    replay = Replay(saved.logs, saved.settings.skews, lambda stream: True, since=None, last=None)
    said = b"".join(piece.data for piece in (*replay.pieces(), *replay.rest()))
    replay.close()
    assert b"rank 0 works\n" in said and b"rank 1 works\n" in said
    assert {log.source.rank for log in logs_of(saved)} == {0, 1}
    codes = {end.rank: end.code for end in evidence_of(saved).exits}
    # A rank that was stopped is no evidence of why the run ended.
    assert codes == {"succeeded": {0: 0, 1: 0}, "failed": {1: 1}}.get(run, {})


def test_stop_request_of_old_run_is_read(tmp_path: Path) -> None:
    request = find_stop_request(opened("stopped", tmp_path).folder)
    assert request is not None and request.reason is StopReason.STOP_REQUEST


@pytest.mark.parametrize("run", RUNS)
def test_judge_of_old_supervisors_gives_the_recorded_verdict(run: str, tmp_path: Path) -> None:
    saved = opened(run, tmp_path)
    ranks = state_of(saved.folder).ranks
    nodes = []
    for name in ("local0", "local1"):
        status = records.read_status(str(RECORDED / run / "nodes" / name))
        assert status is not None
        report = parse({"status": status}, b"")
        assert isinstance(report, StatusReport)
        rank = ranks[name, 0]
        reported = {
            "rank": rank.rank, "local_rank": 0, "attempt": 0, "pid": rank.pid, "started": rank.began,
            "ended": rank.ended, "code": rank.code, "signal": rank.signal,
        }  # fmt: skip
        ended = parse({"rank": reported}, b"")
        assert isinstance(ended, RankReport)
        skew = saved.settings.skews[name]
        nodes.append(
            NodeState(name, {rank.rank: ended}, report, skew, stopped_at=report.stopped_at)
        )
    verdict = judge(saved.plan, nodes, None)
    assert (verdict.exit_code, verdict.outcome, verdict.summary) == (
        saved.exit_code,
        saved.outcome,
        REWORDED.get(run, saved.summary),
    )


def test_old_supervisor_accepts_a_new_stop_request(tmp_path: Path) -> None:
    # It copies any text that is the reason into its status, and ignores the detail.
    stop = Stop(StopReason.LEASE_EXPIRED, seconds=3).of_node("n1")
    request = {"grace": 3.0, "reason": stop.reason.value, "detail": stop.detail}
    (tmp_path / "stop.json").write_text(json.dumps(request))
    read = records.read_request(str(tmp_path))
    assert read is not None and type(read["reason"]) is str
    old = json.loads((RECORDED / "stopped/nodes/local0/status.json").read_text())
    report = parse({"status": {**old, "stopped": read["reason"]}}, b"")
    assert isinstance(report, StatusReport)
    # Still a request: the node has not stopped by itself.
    assert report.stopped == Stop(StopReason.NODE_STOPPED)
    assert not NodeState("n0", {}, report).has_stopped_unasked
