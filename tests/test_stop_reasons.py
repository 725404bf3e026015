"""Why a run is stopped: the wording of each reason, and the sentences of orch 0.1.0 as reasons."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.node import records
from orchestrator.node.reasons import UNASKED, StopReason
from orchestrator.reasons import WITHOUT_DETAIL, Stop, reason_of_signal
from orchestrator.remote.legacy_reasons import parse_oom_kills, parse_stop, parse_summary
from orchestrator.remote.reports import StatusReport, parse
from orchestrator.runs.old_records import renewed, renewed_record

SENTENCES = {
    "timed out after 0.5 s": Stop(StopReason.TIME_LIMIT, seconds=0.5),
    "timed out after 1e+06 s": Stop(StopReason.TIME_LIMIT, seconds=1e6),
    "stalled: r1 get (t.py:11): r0 waits": Stop(
        StopReason.STALL, text="r1 get (t.py:11): r0 waits"
    ),
    "n1 failed": Stop(StopReason.NODE_FAILED, node="n1"),
    "every rank has ended; the launcher on n0, n1 has not, 30 s later": Stop(
        StopReason.LAUNCHER_HANGS, text="n0, n1", seconds=30
    ),
    "something else": Stop(StopReason.OTHER, text="something else"),
    **{str(Stop(reason)): Stop(reason) for reason in WITHOUT_DETAIL},
}

# What orch 0.1.0 wrote, the reason, and the present wording.
REWORDED = [
    (
        "the supervisor was told to stop (SIGTERM from process 17)",  # verbatim
        Stop(StopReason.SUPERVISOR_SIGNALLED, signal=15, pid=17),
        "the supervisor received SIGTERM from process 17",
    ),
    (
        "the supervisor was told to stop",  # verbatim
        Stop(StopReason.SUPERVISOR_SIGNALLED),
        "the supervisor was asked to stop",
    ),
    (
        "no controller was heard of for 3 s",
        Stop(StopReason.LEASE_EXPIRED, seconds=3),
        "no contact with a controller for 3 s",
    ),
    (
        "n1 stopped: no controller was heard of for 3 s",
        Stop(StopReason.LEASE_EXPIRED, seconds=3).of_node("n1"),
        "n1 stopped: no contact with a controller for 3 s",
    ),
    (
        "the others went on without it",  # verbatim
        Stop(StopReason.NODE_LEFT),
        "the run continued without it",
    ),
    (
        "the run goes on without this node",  # verbatim
        Stop(StopReason.NODE_REPLACED),
        "the run continues without this node",
    ),
    ("orch is ending", Stop(StopReason.CONTROLLER_ENDING), "orch is exiting"),
]
STOPS = [*SENTENCES.values(), *(stop for _, stop, _ in REWORDED)]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_stop_of_sentence_in_present_wording_is_its_reason(sentence: str) -> None:
    assert parse_stop(sentence) == SENTENCES[sentence]
    assert str(parse_stop(sentence)) == sentence


@pytest.mark.parametrize(("sentence", "stop", "wording"), REWORDED)
def test_stop_of_sentence_of_old_version_is_its_reason(
    sentence: str, stop: Stop, wording: str
) -> None:
    assert parse_stop(sentence) == stop
    assert str(stop) == wording


def test_every_reason_without_detail_has_a_wording_of_its_own() -> None:
    words = [str(Stop(reason)) for reason in StopReason]
    assert len(set(words)) == len(words) and all(words)
    assert not [word for word in words if "None" in word or word != word.strip()]


@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: stop.reason.value)
def test_stop_passed_on_by_a_supervisor_is_unchanged(stop: Stop) -> None:
    status = {
        "state": "stopping", "attempt": 0, "pid": 1, "start": 1, "launcher": None, "left": [],
        "stopped": stop.reason.value, "stopped_detail": json.loads(json.dumps(stop.detail)),
    }  # fmt: skip
    report = parse({"status": status}, b"")
    assert isinstance(report, StatusReport) and report.stopped == stop


@pytest.mark.parametrize(
    "detail",
    [[], 3, {"seconds": "3"}, {"seconds": -1}, {"signal": 1.5}, {"pid": True}, {"node": 3}, {"x": 1}],
)  # fmt: skip
def test_request_with_invalid_detail_is_ignored(tmp_path: Path, detail: object) -> None:
    request = {"grace": 1.0, "reason": "time-limit", "detail": detail}
    (tmp_path / "stop.json").write_text(json.dumps(request))
    assert records.read_request(str(tmp_path)) is None


def test_reason_of_a_later_version_is_shown_as_it_is() -> None:
    status: dict[str, object] = {
        "state": "ended", "launcher": None, "left": [], "stopped": "a-reason-of-later",
    }  # fmt: skip
    report = parse({"status": status}, b"")
    assert isinstance(report, StatusReport) and report.stopped is not None
    assert report.stopped == Stop(StopReason.OTHER, text="a-reason-of-later")
    assert report.stopped.reason not in UNASKED


def test_reason_of_signal_is_its_own_or_interrupt() -> None:
    assert [reason_of_signal(number) for number in (None, 2, 15, 1)] == [
        StopReason.INTERRUPT,
        StopReason.INTERRUPT,
        StopReason.SIGTERM,
        StopReason.SIGHUP,
    ]


def test_stop_of_summary_of_rank_that_exited_with_124_is_none() -> None:
    limit = Stop(StopReason.TIME_LIMIT, seconds=2)
    assert parse_summary("timed out after 2 s (attempt 1 of 2)", 124) == limit
    assert parse_summary("rank 0 on n0 exited with 124", 124) is None


def test_renewed_verdict_of_old_version_has_its_oom_count() -> None:
    assert parse_oom_kills("memory.events of n1: oom_kill grew by 3") == 3
    assert parse_oom_kills("Out of memory: Killed process 102 (python)") is None
    old = {"evidence": "memory.events of n1: oom_kill grew by 3"}
    assert renewed("Explained", old)["oom_kills"] == 3
    assert renewed_record({"state": "failed", "summary": "x", "exit_code": 1, "verdict": old})[
        "verdict"
    ] == {
        **old,
        "oom_kills": 3,
    }
