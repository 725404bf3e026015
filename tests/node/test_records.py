"""Records: torn or invalid ones count as missing, and all others are accepted by the controller."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.node import records
from orchestrator.remote import reports

PROCESS: dict[str, Any] = {
    "pid": 7, "started": 1.0, "ended": 2.0, "code": None, "signal": 9,
}  # fmt: skip
DETAIL = {"node": "n1", "because": "x", "signal": 15, "pid": 7, "seconds": 1.5}
STATUS: dict[str, Any] = {
    "state": "stopping", "pid": 5, "start": 77, "began": 1.0, "ended": None,
    "launcher": PROCESS, "stopped": "because", "stopped_detail": DETAIL, "left": [8],
}  # fmt: skip
RANK: dict[str, Any] = {"rank": 3, "local_rank": 1, "attempt": 0, **PROCESS}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*STATUS, *RANK]), inner, max_size=3)
    ),
    max_leaves=5,
)


def mutated(record: dict[str, Any]) -> st.SearchStrategy[Any]:
    """The record with some of its values replaced, or anything else."""
    keys = st.sampled_from([*record, *PROCESS])
    return anything | st.dictionaries(keys, anything, max_size=2).map(lambda new: {**record, **new})


in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_whole_records_are_read(tmp_path: Path) -> None:
    request = {"grace": 1.5, "reason": "time-limit", "detail": {"seconds": 9.0}}
    (tmp_path / "status.json").write_text(json.dumps(STATUS))
    (tmp_path / "stop.json").write_text(json.dumps(request))
    (tmp_path / "rank-3.json").write_text(json.dumps(RANK))
    assert records.read_status(str(tmp_path)) == STATUS
    assert records.read_request(str(tmp_path)) == request
    assert records.read_rank(str(tmp_path / "rank-3.json")) == RANK


@in_one_folder
@given(status=mutated(STATUS), rank=mutated(RANK))
def test_controller_accepts_every_record_that_is_read(
    tmp_path: Path, status: Any, rank: Any
) -> None:
    (tmp_path / "status.json").write_text(json.dumps(status))
    (tmp_path / "rank.json").write_text(json.dumps(rank))
    status, rank = (
        records.read_status(str(tmp_path)),
        records.read_rank(str(tmp_path / "rank.json")),
    )
    if status is not None:
        reports.parse({"status": status}, b"")
    if rank is not None:
        reports.parse({"rank": rank}, b"")


@pytest.mark.parametrize(
    "data",
    [b"", b"{", json.dumps(STATUS).encode()[:-3], b"\xff\xfe", b"[" * 100_000, b"\0" * 64, b"[1]"],
    ids=["empty", "brace", "torn", "no text", "deep", "zeros", "list"],
)
def test_torn_records_are_none(tmp_path: Path, data: bytes) -> None:
    for name in ("status.json", "stop.json", "rank-0.json"):
        (tmp_path / name).write_bytes(data)
    assert records.read_status(str(tmp_path)) is None
    assert records.read_request(str(tmp_path)) is None
    assert records.read_rank(str(tmp_path / "rank-0.json")) is None


def test_read_status_of_missing_file_is_none(tmp_path: Path) -> None:
    assert records.read_status(str(tmp_path / "gone")) is None
    (tmp_path / "file").touch()
    assert records.read_status(str(tmp_path / "file")) is None


def test_read_status_of_unreadable_file_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(OSError, match="Input/output error"):
        records.read_status(str(tmp_path))


def test_read_status_of_no_file_or_a_huge_one_is_none(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    os.mkfifo(path)  # a blocking open would wait for ever
    assert records.read_status(str(tmp_path)) is None
    path.unlink()
    path.mkdir()
    assert records.read_status(str(tmp_path)) is None
    path.rmdir()
    path.symlink_to("/dev/zero")
    assert records.read_status(str(tmp_path)) is None
    path.unlink()
    with path.open("wb") as file:
        file.truncate(5 << 30)
    assert records.read_status(str(tmp_path)) is None
