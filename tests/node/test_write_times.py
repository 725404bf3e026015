"""Marks: the times at which log files had grown to certain sizes, few enough to keep for weeks."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.node import files, write_times
from orchestrator.node.write_times import Timeline, WriteTime, WriteTimeRecorder

NOW = 1_800_000_000.0
WEEK = 7 * 24 * 3600

streams = st.builds(
    lambda rank, ending: f"{'launcher' if rank is None else f'rank-{rank}'}.{ending}",
    st.none() | st.integers(0, 9_999_999),
    st.sampled_from(["out", "err"]),
)
some_marks = st.lists(
    st.builds(WriteTime, st.floats(0, NOW), st.integers(0, 2**64 - 1), streams), max_size=30
)


@st.composite
def growth(draw: st.DrawFn) -> list[WriteTime]:
    """Marks of two streams as a supervisor makes them: sizes grow with the time."""
    ages = sorted(draw(st.lists(st.floats(0, 10_000), max_size=60)), reverse=True)
    names = draw(
        st.lists(
            st.sampled_from(["rank-0.out", "rank-1.err"]), min_size=len(ages), max_size=len(ages)
        )
    )
    return [
        WriteTime(NOW - age, size, name)
        for size, (age, name) in enumerate(zip(ages, names, strict=True), 1)
    ]


@given(some_marks, st.binary(max_size=23))
def test_unpack_of_pack_skips_a_torn_last_record(given_marks: list[WriteTime], torn: bytes) -> None:
    assert write_times.unpack(b"".join(map(write_times.pack, given_marks)) + torn) == given_marks


@given(st.binary(max_size=500))
def test_unpack_of_any_bytes_gives_valid_marks(data: bytes) -> None:
    found = write_times.unpack(data)
    assert write_times.unpack(b"".join(map(write_times.pack, found))) == found
    write_times.thin(found, NOW)


@given(growth(), st.lists(st.floats(0, 100_000), min_size=1, max_size=5))
def test_repeated_thin_delays_no_byte_by_over_a_hundredth_of_its_age(
    given_marks: list[WriteTime], waits: list[float]
) -> None:
    kept = given_marks
    for now in sorted(NOW + wait for wait in waits):
        kept = write_times.thin(kept, now)
        assert [mark for mark in given_marks if mark in kept] == kept, "they keep their order"
        for mark in given_marks:
            heir = next(k for k in kept if k.stream == mark.stream and k.size >= mark.size)
            assert heir.time - mark.time < max(1.0, (now - mark.time) / 100)


def test_thin_of_a_week_keeps_about_1400_marks() -> None:
    kept: list[WriteTime] = []
    for second in range(WEEK):
        kept.append(WriteTime(NOW + second, second + 1, "rank-0.out"))
        if len(kept) > 5000:
            kept = write_times.thin(kept, NOW + second)
    assert 1200 < len(write_times.thin(kept, NOW + WEEK)) < 1600


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(0, 60))
def test_timeline_finds_the_first_mark_after_an_offset(sizes: list[int], offset: int) -> None:
    timeline = Timeline()
    for when, size in enumerate(sizes):
        timeline.add(WriteTime(float(when), size, "rank-0.out"))
    # A file that shrank was rewritten from there, so only later marks apply to those bytes.
    true = [
        (size, float(when))
        for when, size in enumerate(sizes)
        if all(later > size for later in sizes[when + 1 :])
    ]
    assert timeline.after(offset) == next((mark for mark in true if mark[0] > offset), None)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder with its first attempt."""
    (tmp_path / "attempt-0").mkdir()
    files.set_room_aside(str(tmp_path))
    return tmp_path


def written(run: Path, attempt: int = 0) -> list[WriteTime]:
    file = run / f"attempt-{attempt}" / "marks"
    return write_times.unpack(file.read_bytes()) if file.exists() else []


def grow(run: Path, name: str, count: int = 1, attempt: int = 0) -> None:
    with (run / f"attempt-{attempt}" / name).open("ab") as file:
        file.write(bytes(count))


def test_recorder_marks_only_what_has_grown(run: Path) -> None:
    marker = WriteTimeRecorder(str(run), 0)
    grow(run, "rank-0.out", 5)
    grow(run, "rank-1.err", 7)
    grow(run, "rank-0.json", 3)
    grow(run, "rank-٣.out", 3)
    began = time.time()
    marker.check()
    marker.check()
    grow(run, "rank-0.out", 2)
    marker.check()
    found = written(run)
    assert [(m.stream, m.size) for m in found] == [
        ("rank-0.out", 5), ("rank-1.err", 7), ("rank-0.out", 7),
    ]  # fmt: skip
    assert all(began <= mark.time <= time.time() for mark in found)
    assert (run / "attempt-0" / "marks").stat().st_mode & 0o777 == 0o600


def test_recorder_writes_marks_per_attempt(run: Path) -> None:
    marker = WriteTimeRecorder(str(run), 0)
    grow(run, "rank-0.out", 5)
    marker.check()
    (run / "attempt-1").mkdir()
    (run / "attempt-²").mkdir()
    grow(run, "rank-0.out", 1, attempt=1)
    grow(run, "rank-0.out", 1)
    marker.check()
    assert [m.size for m in written(run)] == [5, 6]
    assert [m.size for m in written(run, 1)] == [1]


def test_recorder_ignores_earlier_attempts(run: Path) -> None:
    grow(run, "rank-0.out", 5)
    WriteTimeRecorder(str(run), 1).check()
    assert written(run) == []


def test_recorder_checks_once_a_second(run: Path) -> None:
    marker = WriteTimeRecorder(str(run), 0)
    grow(run, "rank-0.out")
    assert 0.5 < marker.step() <= 1.0
    grow(run, "rank-0.out")
    assert 0 < marker.step() <= 1.0
    assert [m.size for m in written(run)] == [1]


def test_shrunk_file_is_marked_when_it_grows_again(run: Path) -> None:
    marker = WriteTimeRecorder(str(run), 0)
    grow(run, "rank-0.out", 9)
    marker.check()
    (run / "attempt-0" / "rank-0.out").write_bytes(b"")
    marker.check()
    grow(run, "rank-0.out", 4)
    marker.check()
    assert [m.size for m in written(run)] == [9, 4]


@pytest.mark.parametrize(
    "full",
    [
        {"side_effect": OSError(errno.ENOSPC, "No space left on device")},
        {"side_effect": lambda descriptor, data, offset: os.write(descriptor, data[:10])},
    ],
)
def test_recorder_on_full_disk_only_drops_marks(run: Path, full: dict[str, Any]) -> None:
    marker = WriteTimeRecorder(str(run), 0)
    grow(run, "rank-0.out", 1)
    with mock.patch.object(os, "pwrite", **full):
        marker.check()
    assert written(run) == []
    grow(run, "rank-0.out", 1)
    marker.check()
    assert [m.size for m in written(run)] == [2]
    assert (run / "attempt-0" / "marks").stat().st_size == 24


def test_recorder_uses_none_of_the_reserved_space(run: Path) -> None:
    marker = WriteTimeRecorder(str(run), 0)
    grow(run, "rank-0.out", 1)
    (run / "reserve").unlink()  # it has been needed
    marker.check()
    assert written(run) == []
    files.set_room_aside(str(run))
    marker.check()
    assert [m.size for m in written(run)] == [1]


def test_recorder_of_removed_folder_raises_nothing(tmp_path: Path) -> None:
    marker = WriteTimeRecorder(str(tmp_path / "gone"), 0)
    marker.check()
    assert not (tmp_path / "gone").exists()


def test_recorder_thins_a_file_that_has_grown(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_times, "_FIRST_LIMIT", 100 * 24)
    monkeypatch.setattr(time, "time", lambda: NOW)
    marker = WriteTimeRecorder(str(run), 0)
    for _ in range(1000):  # all within one second, so that one mark is enough
        grow(run, "rank-0.out")
        marker.check()
    assert written(run)[-1] == WriteTime(NOW, 1000, "rank-0.out")
    assert len(written(run)) <= 100
    assert sorted(path.name for path in (run / "attempt-0").iterdir()) == ["marks", "rank-0.out"]
