"""Requests to stop, left in a run's folder."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import LaunchError
from orchestrator.node.reasons import StopReason
from orchestrator.reasons import PEOPLE
from orchestrator.runs.folder import read_json, write_json
from orchestrator.runs.stop_request import (
    StopRequest,
    find_stop_request,
    request_stop,
    stop_requests,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the examples of a property; a later request replaces an earlier one."""
    return tmp_path_factory.mktemp("run")


@given(st.builds(StopRequest, st.sampled_from(PEOPLE), st.none() | st.floats(allow_nan=False)))
def test_request_is_found_and_replaced_by_a_later_one(folder: Path, request: StopRequest) -> None:
    request_stop(folder, request)
    assert find_stop_request(folder) == request


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("orch stop", StopReason.STOP_REQUEST),
        ("interrupted", StopReason.INTERRUPT),
        ("interrupted twice", StopReason.INTERRUPT_TWICE),
        ("SIGTERM", StopReason.SIGTERM),
        ("a-reason-of-later", StopReason.STOP_REQUEST),
        ("stall", StopReason.STOP_REQUEST),  # only the controller finds that
    ],
)
def test_request_of_another_version_is_read(
    tmp_path: Path, written: str, reason: StopReason
) -> None:
    write_json(tmp_path / "stop.json", {"reason": written, "grace": None})
    assert find_stop_request(tmp_path) == StopRequest(reason, None)


def test_run_without_a_request(tmp_path: Path) -> None:
    assert find_stop_request(tmp_path) is None
    assert find_stop_request(tmp_path / "no such run") is None


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"\xff", b"null", b"[]", b"3", b'{"grace": 3}', b'{"reason": 3, "grace": 3}',
        b'{"reason": "x", "grace": "soon"}', b'{"reason": "x", "grace": true}',
    ],
)  # fmt: skip
def test_invalid_request_is_none(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "stop.json").write_bytes(text)
    assert find_stop_request(tmp_path) is None


async def test_requests_are_yielded_once_each(
    tmp_path: Path,
) -> None:
    gentle = StopRequest(StopReason.STOP_REQUEST, None)
    at_once = StopRequest(StopReason.INTERRUPT_TWICE, 0.0)
    requests = stop_requests(tmp_path)
    first = asyncio.ensure_future(anext(requests))
    await asyncio.sleep(0)
    assert not first.done()
    request_stop(tmp_path, gentle)
    assert await first == gentle
    request_stop(tmp_path, gentle)
    second = asyncio.ensure_future(anext(requests))
    await asyncio.sleep(0)
    request_stop(tmp_path, at_once)
    assert await second == at_once
    await requests.aclose()


# -- how JSON files are replaced ----------------------------------------------------------------


def test_write_json_replaces_the_file_atomically_and_privately(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    for value in ({"a": "x" * 100}, {"a": 1}):
        write_json(path, value)
        assert read_json(path) == value
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_write_json_on_a_full_disk_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.json"
    write_json(path, {"a": 1})

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"a": 2})
    monkeypatch.undo()
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_request_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "gone").touch()
    with pytest.raises(
        LaunchError, match=r"request to stop run gone cannot be written: .*Not a directory"
    ):
        request_stop(tmp_path / "gone", StopRequest(StopReason.STOP_REQUEST, None))


def test_request_for_a_removed_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="run gone was removed; there is nothing to stop"):
        request_stop(tmp_path / "gone", StopRequest(StopReason.STOP_REQUEST, None))


def test_read_json_of_an_unreadable_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert read_json(tmp_path / "folder") is None
    assert read_json(tmp_path / "folder/nothing/there") is None
