"""What whoever minds a run writes of it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from orchestrator import events
from orchestrator.errors import LaunchError
from orchestrator.runs import record as module
from orchestrator.runs.event_log import EventReader
from orchestrator.runs.lock import find_controller
from orchestrator.runs.record import Record
from orchestrator.runs.saved import Saved, read_saved
from tests.runs.helpers import plan_of, record_in


def saved_in(root: Path, run: str = "r") -> Saved:
    saved = read_saved(root / run)
    assert saved is not None
    return saved


def test_a_new_run_is_starting_and_its_folder_is_its_owners_alone(tmp_path: Path) -> None:
    record = record_in(tmp_path)
    assert saved_in(tmp_path).state == "starting"
    assert (tmp_path / "r").stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "r").iterdir()} == {0o600}
    record.close()


def test_a_run_of_that_name_is_not_written_over(tmp_path: Path) -> None:
    record_in(tmp_path).close()
    with pytest.raises(LaunchError, match=r"cannot be kept in .*r: File exists"):
        record_in(tmp_path)


def test_where_it_cannot_be_kept_nothing_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "write_json", full)
    with pytest.raises(LaunchError, match="No space left on device") as caught:
        record_in(tmp_path)
    assert "XDG_STATE_HOME" in str(caught.value)


def test_one_at_a_time_goes_on_with_it_where_the_other_was(tmp_path: Path) -> None:
    first = record_in(tmp_path, plan_of(1, 1), grace=7.0)
    first.note(events.Warned("of the first"))
    saved = saved_in(tmp_path)
    assert Record.reopen(saved) is None
    first.close()
    second = Record.reopen(saved)
    assert second is not None
    second.note(events.Warned("of the second"))
    second.write_state("ended", exit_code=0, summary="all 2 ranks succeeded")
    again = saved_in(tmp_path)
    assert (again.began, again.settings, again.plan) == (saved.began, saved.settings, saved.plan)
    assert again.state == "ended"
    told = [logged.event for logged in EventReader(saved.folder / "events.jsonl").read()]
    assert told == [events.Warned("of the first"), events.Warned("of the second")]
    second.close()
    assert find_controller(saved.folder) is None


def test_what_is_missing_is_said_anew_and_the_rest_stays(tmp_path: Path) -> None:
    record = record_in(tmp_path)
    record.write_state("ended", exit_code=3, summary="it failed", missing=("n0", "n1"))
    before = saved_in(tmp_path)
    record.amend(missing=("n1",))
    after = saved_in(tmp_path)
    assert after.missing == ("n1",)
    assert (after.state, after.exit_code, after.summary, after.ended) == (
        before.state, before.exit_code, before.summary, before.ended,
    )  # fmt: skip
    record.close()
