"""Input of a diagnosis from the folder of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator import events
from orchestrator.errors import UsageError
from orchestrator.runs.evidence import evidence_of, logs_of
from orchestrator.runs.saved_run import SavedRun, load_run
from tests.cli.fake_run import T0, FakeRun


def began(rank: int, attempt: int = 0) -> events.RankBegan:
    return events.RankBegan(rank, rank % 2, f"n{rank // 2}", attempt, 100 + rank, T0)


def saved_of(run: FakeRun, **more: Any) -> SavedRun:
    saved = load_run(run.end(1, **more).folder)
    assert saved is not None
    return saved


def names(saved: SavedRun, attempt: int | None = None) -> list[str]:
    return [log.source.name for log in logs_of(saved, attempt)]


def test_every_byte_has_its_time_of_arrival(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, skews={"n0": 0.0, "n1": 10.0})
    run.write(2, "one\n", 11.0)
    run.write(3, "other\n", 12.0)
    run.write(2, "two\n", 13.0)
    log = logs_of(saved_of(run))[0]
    assert log.source.clock is not None
    times = [log.source.clock(offset) for offset in (0, 3, 4, 7, 100)]
    assert times == [T0 + 1, T0 + 1, T0 + 3, T0 + 3, T0 + 3]


def test_bytes_without_a_record_have_no_time(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.write(0, "one\n", 1.0)
    (run.folder / "logs/n0/index").unlink()
    log = logs_of(saved_of(run))[0]
    assert log.source.clock is not None and log.source.clock(0) is None


def test_logs_of_restarted_ranks_are_the_last_of_each(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    for rank, attempt in ((0, 0), (1, 0), (0, 1), (2, 0)):
        run.write(rank, "x\n", 1.0, attempt=attempt)
    saved = saved_of(run)
    last = ["n0/attempt-1/rank-0.out", "n0/attempt-0/rank-1.out", "n1/attempt-0/rank-2.out"]
    assert names(saved) == last
    assert names(saved, 1) == last[:1]
    with pytest.raises(UsageError, match="no such attempt"):
        logs_of(saved, 2)


def test_logs_of_the_last_attempt_leave_out_ranks_that_did_not_start(
    tmp_path: Path,
) -> None:
    run = FakeRun(tmp_path)
    run.write(0, "x\n", 1.0)
    run.write(1, "x\n", 1.0)
    run.write(0, "x\n", 1.0, attempt=1)
    saved = saved_of(run, attempt=1, failed=[
        {"number": 0, "last": 0, "began": T0, "ended": T0, "exit_code": 1, "summary": "", "lost": []}
    ])  # fmt: skip
    assert names(saved) == ["n0/attempt-1/rank-0.out"]
    assert names(saved, 0) == ["n0/attempt-0/rank-0.out", "n0/attempt-0/rank-1.out"]


def why(**changes: object) -> dict[str, object]:
    return {
        "run": "lusab-babad", "how": "", "node": "n1", "rank": 2, "code": None, "signal": 9,
        "after": None, "error": "", "place": "", "signature": "memory.oom-killer", "meaning": "",
        "cause": "", "fix": "", "check": "", "evidence": "", "channel": "stderr", "lines": [],
        "victims": [], "logs": "/", "command": "",
    } | changes  # fmt: skip


def test_evidence_has_the_kernel_log_of_the_verdict(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.note(began(2), events.RankEnded(2, "n1", None, 9, T0 + 1))
    line = "Out of memory: Killed process 102 (python)"
    evidence = evidence_of(saved_of(run, verdict=why(evidence=line)))
    assert evidence.kernel_logs == {"n1": [line.encode()]} and not evidence.oom_kills
    assert [(end.rank, end.code, end.first) for end in evidence.exits] == [(2, -9, True)]


def test_evidence_has_the_oom_count_of_the_verdict(tmp_path: Path) -> None:
    verdict = why(evidence="what it says is free to change", oom_kills=3)
    evidence = evidence_of(saved_of(FakeRun(tmp_path), verdict=verdict))
    assert evidence.oom_kills == {"n1": 3} and not evidence.kernel_logs


def test_evidence_has_the_end_of_a_launcher(tmp_path: Path) -> None:
    verdict = why(rank=None, code=2, signal=None, signature="")
    (end,) = evidence_of(saved_of(FakeRun(tmp_path), verdict=verdict)).exits
    assert (end.rank, end.code, end.node) == (None, 2, "n1")
