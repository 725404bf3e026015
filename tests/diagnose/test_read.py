"""Reading logs, and the progress reported meanwhile."""

from __future__ import annotations

import gzip
from pathlib import Path

from orchestrator.diagnose import Source
from orchestrator.diagnose.files import find_logs
from orchestrator.diagnose.read import Log, ReadProgress, examine

FULL = b"OSError: [Errno 28] No space left on device\n"


def logs(*paths: Path) -> tuple[Log, ...]:
    return find_logs(map(str, paths)).logs


def test_examine_ignores_what_is_written_after_the_start(tmp_path: Path) -> None:
    path = tmp_path / "job.log"
    path.write_bytes(b"step 1\n")
    found = logs(path)
    with path.open("ab") as file:
        file.write(FULL)
    assert (examine(found).bytes, examine(found).diagnosis.hits) == (7, ())
    assert examine(logs(path)).diagnosis.hits[0].first.place.line == 2


def test_examine_reports_progress_in_bytes_on_the_disk(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.log", tmp_path / "b.log.gz"
    plain.write_bytes(b"x" * 99 + b"\n")
    packed.write_bytes(gzip.compress(b"y" * 1_000_000))
    reported: list[ReadProgress] = []
    assert examine(logs(plain, packed), on_progress=reported.append).bytes == 1_000_100
    total = 100 + packed.stat().st_size
    assert reported[0] == ReadProgress(100, total)
    assert reported[-1] == ReadProgress(total, total)


def test_examine_reports_unreadable_files_and_reads_the_rest(tmp_path: Path) -> None:
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


def test_examine_reads_a_truncated_file_up_to_its_end(tmp_path: Path) -> None:
    torn = tmp_path / "torn.gz"
    torn.write_bytes(gzip.compress(FULL * 100)[:-9])
    examined = examine(logs(torn))
    assert examined.files == (str(torn),)
    (problem,) = examined.problems
    assert f"can be read up to byte {examined.bytes} only" in problem
    assert [hit.signature.id for hit in examined.diagnosis.hits] == ["disk.full"]


def test_examine_detects_gzip_by_content(tmp_path: Path) -> None:
    packed, plain = tmp_path / "job.log.1", tmp_path / "job.gz"
    packed.write_bytes(gzip.compress(FULL))
    plain.write_bytes(FULL)
    assert examine(logs(packed, plain)).diagnosis.hits[0].count == 2


def test_examine_skips_a_hole(tmp_path: Path) -> None:
    path = tmp_path / "job.log"
    with path.open("wb") as file:
        file.write(b"step 1\n")
        file.seek(200_000_000_000)
        file.write(FULL)
    reported: list[ReadProgress] = []
    examined = examine(logs(path), on_progress=reported.append)
    assert examined.bytes < 1_000_000
    assert len(examined.diagnosis.hits) == 1
    assert reported[-1] == ReadProgress(200_000_000_000 + len(FULL), 200_000_000_000 + len(FULL))
