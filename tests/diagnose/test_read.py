"""What is read of logs, and what is said meanwhile."""

from __future__ import annotations

import gzip
from pathlib import Path

from orchestrator.diagnose import Source
from orchestrator.diagnose.files import find_logs
from orchestrator.diagnose.read import Log, ReadProgress, examine

FULL = b"OSError: [Errno 28] No space left on device\n"


def logs(*paths: Path) -> tuple[Log, ...]:
    return find_logs(map(str, paths)).logs


def test_what_is_written_after_the_reading_began_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "job.log"
    path.write_bytes(b"step 1\n")
    meant = logs(path)
    with path.open("ab") as file:
        file.write(FULL)
    assert (examine(meant).bytes, examine(meant).diagnosis.hits) == (7, ())
    assert examine(logs(path)).diagnosis.hits[0].first.place.line == 2


def test_it_tells_how_far_it_has_come_of_what_is_on_the_disk(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.log", tmp_path / "b.log.gz"
    plain.write_bytes(b"x" * 99 + b"\n")
    packed.write_bytes(gzip.compress(b"y" * 1_000_000))
    heard: list[ReadProgress] = []
    assert examine(logs(plain, packed), on_progress=heard.append).bytes == 1_000_100
    total = 100 + packed.stat().st_size
    assert heard[0] == ReadProgress(100, total)
    assert heard[-1] == ReadProgress(total, total)


def test_what_cannot_be_read_is_said_and_the_rest_is_read(tmp_path: Path) -> None:
    good, torn, gone = tmp_path / "good.log", tmp_path / "torn.gz", tmp_path / "gone.log"
    good.write_bytes(FULL)
    torn.write_bytes(gzip.compress(FULL)[:9])
    examined = examine((*logs(torn), Log(Source("gone.log"), gone, 5), *logs(good)))
    assert examined.files == (str(good),)
    assert [problem.split("cannot be read: ")[1] for problem in examined.problems] == [
        "Compressed file ended before the end-of-stream marker was reached",
        "No such file or directory",
    ]
    assert [hit.signature.id for hit in examined.diagnosis.hits] == ["disk.full"]


def test_of_what_is_cut_off_the_beginning_is_read(tmp_path: Path) -> None:
    torn = tmp_path / "torn.gz"
    torn.write_bytes(gzip.compress(FULL * 100)[:-9])
    examined = examine(logs(torn))
    assert examined.files == (str(torn),)
    (problem,) = examined.problems
    assert f"can be read up to byte {examined.bytes} only" in problem
    assert [hit.signature.id for hit in examined.diagnosis.hits] == ["disk.full"]


def test_what_is_packed_is_told_by_its_beginning_not_by_its_name(tmp_path: Path) -> None:
    packed, plain = tmp_path / "job.log.1", tmp_path / "job.gz"
    packed.write_bytes(gzip.compress(FULL))
    plain.write_bytes(FULL)
    assert examine(logs(packed, plain)).diagnosis.hits[0].count == 2


def test_hole_of_a_log_is_stepped_over(tmp_path: Path) -> None:
    path = tmp_path / "job.log"
    with path.open("wb") as file:
        file.write(b"step 1\n")
        file.seek(200_000_000_000)
        file.write(FULL)
    heard: list[ReadProgress] = []
    examined = examine(logs(path), on_progress=heard.append)
    assert examined.bytes < 1_000_000
    assert len(examined.diagnosis.hits) == 1
    assert heard[-1] == ReadProgress(200_000_000_000 + len(FULL), 200_000_000_000 + len(FULL))
