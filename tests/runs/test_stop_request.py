"""A wish to stop, left in a run's folder."""

from __future__ import annotations

import asyncio
import errno
import json
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
    """A folder for the many examples of a property; a later wish replaces an earlier one."""
    return tmp_path_factory.mktemp("run")


@given(st.builds(StopRequest, st.sampled_from(PEOPLE), st.none() | st.floats(allow_nan=False)))
def test_a_wish_is_found_as_it_was_left_and_a_later_one_replaces_it(
    folder: Path, wish: StopRequest
) -> None:
    request_stop(folder, wish)
    assert find_stop_request(folder) == wish


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("orch stop", StopReason.STOP_REQUEST),
        ("interrupted", StopReason.INTERRUPT),
        ("interrupted twice", StopReason.INTERRUPT_TWICE),
        ("SIGTERM", StopReason.SIGTERM),
        ("a-reason-of-later", StopReason.STOP_REQUEST),
        ("stall", StopReason.STOP_REQUEST),  # that is for whoever controls the run to find
    ],
)
def test_a_wish_of_another_version_is_heeded(
    tmp_path: Path, written: str, reason: StopReason
) -> None:
    write_json(tmp_path / "stop.json", {"reason": written, "grace": None})
    assert find_stop_request(tmp_path) == StopRequest(reason, None)


def test_nobody_has_a_wish_at_first(tmp_path: Path) -> None:
    assert find_stop_request(tmp_path) is None
    assert find_stop_request(tmp_path / "no such run") is None


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"\xff", b"null", b"[]", b"3", b'{"grace": 3}', b'{"reason": 3, "grace": 3}',
        b'{"reason": "x", "grace": "soon"}', b'{"reason": "x", "grace": true}',
    ],
)  # fmt: skip
def test_what_is_no_wish_is_none(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "stop.json").write_bytes(text)
    assert find_stop_request(tmp_path) is None


async def test_requests_are_yielded_as_they_replace_each_other_and_each_once(
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


# -- how such files are replaced ----------------------------------------------------------------


def test_a_file_is_replaced_whole_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    for value in ({"a": "x" * 100}, {"a": 1}):
        write_json(path, value)
        assert read_json(path) == value
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_file_as_it_was_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.json"
    write_json(path, {"a": 1})

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(json, "dump", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"a": 2})
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_wish_that_cannot_be_left_is_told(tmp_path: Path) -> None:
    (tmp_path / "gone").touch()
    with pytest.raises(
        LaunchError, match=r"request to stop run gone cannot be written: .*Not a directory"
    ):
        request_stop(tmp_path / "gone", StopRequest(StopReason.STOP_REQUEST, None))


def test_a_run_that_was_removed_meanwhile_has_nothing_to_stop(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="run gone was removed; there is nothing to stop"):
        request_stop(tmp_path / "gone", StopRequest(StopReason.STOP_REQUEST, None))


def test_what_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert read_json(tmp_path / "folder") is None
    assert read_json(tmp_path / "folder/nothing/there") is None
