"""Writes that a full disk must not prevent."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.runs.disk_space import release_space, replace_json, reserve_space, write_within
from orchestrator.runs.folder import read_json
from tests.runs.disks import fill, small_disk

SIZE = 1 << 16
REPLACE = """
import json, sys
from pathlib import Path
from orchestrator.runs.disk_space import replace_json
replace_json(Path(sys.argv[1]), json.loads(sys.argv[2]))
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


def full(times: int) -> Callable[[], None]:
    """Return a write that finds the disk full so many times."""
    left = [None] * times

    def write() -> None:
        if left:
            left.pop()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return write


@pytest.mark.lab
def test_replace_with_reserved_space_succeeds_on_a_full_disk(disk: Path) -> None:
    path = disk / "run.json"
    replace_json(path, {"a": 1})
    reserve_space(path, SIZE)
    fill(disk)
    value = {"a": "x" * 30_000}
    replace_json(path, value)
    assert read_json(path) == value
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(OSError, match="No space left on device"):
        reserve_space(path, SIZE)
    value = {"a": "y" * 30_000}  # the first file's space is reused
    replace_json(path, value)
    assert read_json(path) == value


@pytest.mark.lab
def test_replace_with_too_little_reserved_space_changes_nothing(disk: Path) -> None:
    path = disk / "run.json"
    replace_json(path, {"a": 1})
    reserve_space(path, 8192)
    fill(disk)
    names = sorted(disk.iterdir())
    with pytest.raises(OSError, match="No space left on device"):
        replace_json(path, {"a": "x" * 30_000})
    assert read_json(path) == {"a": 1}
    assert sorted(disk.iterdir()) == names
    replace_json(path, {"a": 2})  # a smaller value still fits
    assert read_json(path) == {"a": 2}


@pytest.mark.lab
def test_reserve_space_on_a_full_disk_keeps_what_is_reserved(disk: Path) -> None:
    path = disk / "run.json"
    reserve_space(path, 8192)
    fill(disk)
    with pytest.raises(OSError, match="No space left on device"):
        reserve_space(path, 1 << 20)
    replace_json(path, {"a": "x" * 6000})
    assert read_json(path) == {"a": "x" * 6000}


def test_reserve_space_again_takes_no_more_space(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    for _ in range(2):
        reserve_space(path, SIZE)
    (reserve,) = tmp_path.iterdir()
    assert reserve.stat().st_size == SIZE
    assert reserve.stat().st_blocks * 512 >= SIZE
    for _ in range(2):
        release_space(path)
    assert list(tmp_path.iterdir()) == []


def test_replace_in_a_missing_folder_raises_its_error(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "run.json"
    with pytest.raises(FileNotFoundError):
        replace_json(path, {})


@pytest.mark.lab
def test_reserve_is_used_by_one_writer_at_a_time(disk: Path) -> None:
    path = disk / "stop.json"
    reserve_space(path, SIZE)
    fill(disk)
    values = [{"reason": str(number) * 20_000} for number in range(4)]
    words = [sys.executable, "-c", REPLACE, str(path)]
    writing = [
        subprocess.Popen([*words, json.dumps(value)], stderr=subprocess.PIPE) for value in values
    ]
    said = [process.communicate(timeout=60)[1] for process in writing]
    assert read_json(path) in values, said
    assert {process.returncode for process in writing} <= {0, 1}, said
    assert sorted(disk.glob("*.tmp")) == []


async def test_write_within_waits_for_space_and_reports_it_once() -> None:
    errors: list[OSError] = []
    await write_within(30, full(2), on_wait=errors.append)
    assert [error.errno for error in errors] == [errno.ENOSPC]


async def test_write_within_raises_after_the_timeout() -> None:
    with pytest.raises(OSError, match="No space left on device"):
        await write_within(0, full(9))


async def test_write_within_raises_when_given_up() -> None:
    asked: list[None] = []

    def give_up() -> bool:
        asked.append(None)
        return len(asked) == 2

    with pytest.raises(OSError, match="No space left on device"):
        await write_within(600, full(9), give_up=give_up)


async def test_write_within_does_not_wait_for_a_removed_folder() -> None:
    def write() -> None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    with pytest.raises(FileNotFoundError):
        await write_within(600, write)
