"""The files that a person names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.diagnose import files
from orchestrator.diagnose.files import find_logs
from orchestrator.errors import UsageError


def write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"text\n")


def found(*names: str | Path) -> list[str]:
    return [str(log.path) for log in find_logs(map(str, names)).logs]


def test_find_logs_of_a_folder_sorts_numbers_by_value(tmp_path: Path) -> None:
    write(tmp_path, "b/rank-2.log", "b/rank-10.log", "a.log", "b/a/x")
    below = [os.path.relpath(path, tmp_path) for path in found(tmp_path)]
    assert below == ["a.log", "b/rank-2.log", "b/rank-10.log", "b/a/x"]


def test_find_logs_lists_a_file_that_is_named_twice_once(tmp_path: Path) -> None:
    write(tmp_path, "a.log", "b.log")
    assert len(found(tmp_path / "b.log", tmp_path, tmp_path / "a.log")) == 2


def test_find_logs_leaves_binary_files_and_pipes_out_unless_named(
    tmp_path: Path,
) -> None:
    (tmp_path / "model.pt").write_bytes(b"PK\x03\x04\0\0")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to("gone")
    assert find_logs([str(tmp_path)]).logs == ()
    assert find_logs([str(tmp_path)]).left_out == ("1 file is not text",)
    assert found(tmp_path / "model.pt", tmp_path / "pipe") == [
        str(tmp_path / "model.pt"), str(tmp_path / "pipe"),
    ]  # fmt: skip
    assert find_logs([str(tmp_path / "pipe")]).logs[0].size is None


def test_find_logs_of_too_many_files_is_partial_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_FILES", 3)
    write(tmp_path, "1", "2", "3", "4")
    many = find_logs([str(tmp_path)])
    assert (len(many.logs), many.left_out) == (3, ("more than 3 files; name fewer",))


@pytest.mark.parametrize(
    ("name", "rank"),
    [
        ("rank-3.err", 3),
        ("rank_12.log", 12),
        ("job.rank0.txt.gz", 0),
        ("Rank7", 7),
        ("frank3.log", None),
        ("slurm-4711.out", None),
        ("rank12345678.log", None),
    ],
)
def test_find_logs_takes_the_rank_from_the_file_name(
    tmp_path: Path, name: str, rank: int | None
) -> None:
    write(tmp_path, name)
    assert find_logs([str(tmp_path / name)]).logs[0].source.rank == rank


def test_find_logs_of_a_missing_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file 'gone/x'"):
        find_logs(["gone/x"])
    with pytest.raises(UsageError, match="there is no file"):
        find_logs(["a\0b"])


def test_find_logs_of_a_dash_is_standard_input() -> None:
    (log,) = find_logs(["-", "-"]).logs
    assert (log.path, log.size, log.source.name) == (None, None, "(standard input)")
