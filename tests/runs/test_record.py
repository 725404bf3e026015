"""The record that a controller writes."""

from __future__ import annotations

import errno
import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator import events
from orchestrator.errors import LaunchError
from orchestrator.node.reasons import StopReason
from orchestrator.runs import record as module
from orchestrator.runs.event_log import EventReader
from orchestrator.runs.lock import Controller, Lock, find_controller
from orchestrator.runs.record import Record
from orchestrator.runs.saved_run import Attempt, Ending, SavedRun, load_run
from orchestrator.runs.stop_request import StopRequest, find_stop_request, request_stop
from tests.runs.disks import fill, small_disk
from tests.runs.helpers import plan_of, record_in


def saved_in(root: Path, run: str = "r") -> SavedRun:
    saved = load_run(root / run)
    assert saved is not None
    return saved


def test_new_run_is_starting_in_a_private_folder(tmp_path: Path) -> None:
    record = record_in(tmp_path)
    assert saved_in(tmp_path).state == "starting"
    assert (tmp_path / "r").stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "r").iterdir()} == {0o600}
    record.close()


def test_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    record_in(tmp_path).close()
    with pytest.raises(LaunchError, match=r"cannot be recorded in .*r: File exists"):
        record_in(tmp_path)


def test_create_without_disk_space_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "replace_json", full)
    with pytest.raises(LaunchError, match="No space left on device") as caught:
        record_in(tmp_path)
    assert "XDG_STATE_HOME" in str(caught.value)


def test_reopen_continues_the_record_once_it_is_released(tmp_path: Path) -> None:
    first = record_in(tmp_path, plan_of(1, 1), grace=7.0)
    first.note(events.Warned("of the first"))
    saved = saved_in(tmp_path)
    assert Record.reopen(saved) is None
    first.close()
    second = Record.reopen(saved)
    assert second is not None
    second.note(events.Warned("of the second"))
    second.write_state("ended", Ending(exit_code=0, summary="all 2 ranks succeeded", missing=()))
    again = saved_in(tmp_path)
    assert (again.began, again.settings, again.plan) == (saved.began, saved.settings, saved.plan)
    assert again.state == "ended"
    logged_events = [logged.event for logged in EventReader(saved.folder / "events.jsonl").read()]
    assert logged_events == [events.Warned("of the first"), events.Warned("of the second")]
    second.close()
    assert find_controller(saved.folder) is None


def test_record_has_attempts_and_former_nodes(tmp_path: Path) -> None:
    record = record_in(tmp_path, plan_of(1, 1), skews={"n0": 1.0, "n1": 2.0})
    failed = Attempt(0, 2, 1.0, 2.0, 3, "it failed", ("n1",))
    record.fail(failed)
    assert record.is_between_attempts
    assert saved_in(tmp_path).failed == (failed,)
    nodes = record.plan.nodes
    spare = replace(nodes[1], host=nodes[1].host.model_copy(update={"name": "s"}))
    record.begin_attempt(replace(record.plan, nodes=(nodes[0], spare)), 3, {"n0": 5.0, "s": 6.0})
    assert not record.is_between_attempts
    record.close()
    saved = saved_in(tmp_path)
    assert (saved.attempt, saved.state) == (3, "running")
    assert [node.name for node in saved.plan.nodes] == ["n0", "s"]
    assert [node.name for node in saved.nodes] == ["n0", "s", "n1"]
    assert saved.settings.skews == {"n0": 5.0, "n1": 2.0, "s": 6.0}
    again = Record.reopen(saved)
    assert again is not None
    assert (again.attempt, again.failed, again.former) == (3, (failed,), saved.former)
    again.close()


def test_amend_replaces_only_the_missing_nodes(tmp_path: Path) -> None:
    record = record_in(tmp_path)
    record.write_state("ended", Ending(exit_code=3, summary="it failed", missing=("n0", "n1")))
    before = saved_in(tmp_path)
    record.amend(missing=("n1",))
    after = saved_in(tmp_path)
    assert after.missing == ("n1",)
    assert (after.state, after.exit_code, after.summary, after.ended) == (
        before.state, before.exit_code, before.summary, before.ended,
    )  # fmt: skip
    record.close()


def end(record: Record) -> None:
    record.write_state("ended", Ending(exit_code=3, summary="it failed", missing=()))


@pytest.mark.lab
def test_attempts_and_end_are_recorded_on_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk, closing(record_in(disk)) as record:
        fill(disk)
        record.fail(Attempt(0, 0, 1.0, 2.0, 3, "it failed"))
        record.begin_attempt(record.plan, 1, {})
        record.fail(Attempt(1, 1, 3.0, 4.0, 4, "it failed again"))
        assert saved_in(disk).attempt == 1
        request_stop(record.folder, StopRequest(StopReason.STOP_REQUEST, 1.0))
        assert find_stop_request(record.folder) == StopRequest(StopReason.STOP_REQUEST, 1.0)
        end(record)
        saved = saved_in(disk)
        assert (saved.state, saved.exit_code, len(saved.failed)) == ("ended", 3, 2)
        assert list(record.folder.glob("*.reserve")) == []


@pytest.mark.lab
def test_controller_is_known_on_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        record_in(disk).close()
        fill(disk)
        for background in (True, False):
            lock = Lock.take(disk / "r", background=background)
            assert lock is not None
            assert find_controller(disk / "r") == Controller(os.getpid(), background)
            lock.release()


def broken(*_: object) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_write_pending_writes_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(record_in(tmp_path)) as record:
        monkeypatch.setattr(module, "replace_json", broken)
        with pytest.raises(OSError, match="Read-only file system"):
            end(record)
        with pytest.raises(OSError, match="Read-only file system"):
            record.write_pending()
        assert saved_in(tmp_path).state == "starting"
        monkeypatch.undo()
        record.write_pending()
        assert (saved_in(tmp_path).state, saved_in(tmp_path).exit_code) == ("ended", 3)


def test_begin_attempt_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(record_in(tmp_path, plan_of(1, 1))) as record:
        failed = Attempt(0, 0, 1.0, 2.0, 3, "it failed")
        before = record.plan
        monkeypatch.setattr(module, "replace_json", broken)
        with pytest.raises(OSError, match="Read-only file system"):
            record.fail(failed)
        with pytest.raises(OSError, match="Read-only file system"):
            record.begin_attempt(replace(before, nodes=before.nodes[:1]), 1, {"n0": 2.0})
        assert record.is_between_attempts
        assert (record.plan, record.attempt, record.former) == (before, 0, ())
        monkeypatch.undo()
        record.write_pending()
        saved = saved_in(tmp_path)
        assert [node.name for node in saved.plan.nodes] == ["n0", "n1"]
        assert (saved.attempt, saved.failed, saved.former) == (0, (failed,), ())
