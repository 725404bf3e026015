"""Why a file is left out, and that the lines of the remedy include it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.sync import collect, why_left_out
from orchestrator.sync.ignore import Rules, pattern_for

from .test_ignore import IGNORE_FILES, PATHS, make


def place(root: Path, name: str, content: str = "x") -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(content)


def test_reason_has_file_line_and_pattern_of_the_rule(tmp_path: Path) -> None:
    place(tmp_path, ".gitignore", "*.log\n\n# data\ndata/\n")
    place(tmp_path, "data/train.bin")
    found = why_left_out(tmp_path, "data/train.bin")
    assert found is not None
    assert (found.what, found.file, found.line, found.pattern) == (
        "data/", tmp_path / ".gitignore", 4, "data/",
    )  # fmt: skip
    assert found.reason(tmp_path) == "left out by .gitignore:4 (data/)"
    assert found.remedy(tmp_path) == "add to .orchignore: !/data/"


def test_reason_may_be_a_rule_of_the_repository_above(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    place(tmp_path, ".gitignore", "*.bin\n")
    place(tmp_path, "exp/train.bin")
    found = why_left_out(tmp_path / "exp", "train.bin")
    assert found is not None
    assert found.reason(tmp_path / "exp") == f"left out by {tmp_path}/.gitignore:1 (*.bin)"
    assert found.fixes == ("!/train.bin",)


def test_files_that_are_sent_have_no_reason(tmp_path: Path) -> None:
    place(tmp_path, "lib/a.py")
    assert why_left_out(tmp_path, "lib/a.py") is None
    assert why_left_out(tmp_path, "lib") is None
    assert why_left_out(tmp_path, "gone") is None
    assert why_left_out(tmp_path, ".") is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (".git/HEAD", "left out: it belongs to version control"),
        ("venv/lib/x.py", "left out: it is a virtual environment"),
        (".ssh/config", "left out: credentials are sent only if they are named"),
        ("node_modules/x", "left out: jobs do not usually need node_modules/"),
    ],
)
def test_reason_may_be_a_rule_of_orch(tmp_path: Path, name: str, reason: str) -> None:
    place(tmp_path, name)
    place(tmp_path, "venv/pyvenv.cfg")
    found = why_left_out(tmp_path, name)
    assert found is not None
    assert found.reason(tmp_path) == reason


def test_remedy_has_all_lines_that_are_needed(tmp_path: Path) -> None:
    place(tmp_path, ".gitignore", "data/\n*.bin\n")
    place(tmp_path, "data/train.bin")
    found = why_left_out(tmp_path, "data/train.bin")
    assert found is not None
    assert found.fixes == ("!/data/", "!/data/train.bin")


@given(path=PATHS, directory=st.booleans())
def test_pattern_for_a_path_matches_only_that(path: str, directory: bool) -> None:
    name = path.encode("utf-8", "surrogateescape")
    rules = Rules(pattern_for(name, directory=directory))
    if b"\n" not in name:
        assert rules.ignored(name, directory=directory) is True
        assert rules.ignored(name + b"x", directory=directory) is None
        assert rules.ignored(b"x/" + name, directory=directory) is None


@given(files=st.lists(PATHS, min_size=1, max_size=8), ignored=IGNORE_FILES, orch=IGNORE_FILES)
def test_reason_agrees_with_collect_and_its_lines_include_the_file(
    files: list[str], ignored: tuple[str, str], orch: tuple[str, str]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for file in files:
            make(root, file)
        make(root, ".gitignore", "".join(ignored))
        make(root, ".orchignore", "".join(orch))
        goes = set(collect(root).files)
        for folder, _, names in os.walk(root):
            for each in names:
                path = (Path(folder) / each).relative_to(root).as_posix()
                found = why_left_out(root, path)
                assert (found is None) == (path in goes)
                if found is None or "\n" in path or path == ".orchignore":
                    continue
                before = (root / ".orchignore").read_bytes()
                with (root / ".orchignore").open("ab") as rules:
                    rules.write(b"\n" + b"\n".join(map(os.fsencode, found.fixes)))
                assert path in collect(root).files
                (root / ".orchignore").write_bytes(before)
