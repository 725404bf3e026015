"""Which files of a folder travel."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from orchestrator.errors import SyncError
from orchestrator.sync import collect, tree


def place(root: Path, name: str, content: str = "") -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(content)


def names(root: Path) -> list[str]:
    return list(collect(root).files)


def test_files_are_named_by_sorted_relative_paths_and_counted_in_bytes(tmp_path: Path) -> None:
    place(tmp_path, "train.py", "12345")
    place(tmp_path, "lib/b.py", "67")
    place(tmp_path, "lib/a.py")
    found = collect(tmp_path)
    assert found == tree.Tree(tmp_path, ("lib/a.py", "lib/b.py", "train.py"), 7)
    assert found.listing == b"lib/a.py\0lib/b.py\0train.py\0"


def test_version_control_caches_and_leftovers_stay_here(tmp_path: Path) -> None:
    for name in (".git/HEAD", "sub/.git", "__pycache__/a.cpython-311.pyc", "a.pyc", "lib/b.pyo",
                 ".mypy_cache/x", ".ruff_cache/x", ".pytest_cache/x", "lib/.ipynb_checkpoints/x",
                 ".DS_Store", "web/node_modules/x/y", ".orch-partial/big.bin", ".hg/x"):  # fmt: skip
        place(tmp_path, name)
    place(tmp_path, "lib/kept.py")
    assert names(tmp_path) == ["lib/kept.py"]


@pytest.mark.parametrize("mark", ["pyvenv.cfg", "conda-meta/history"])
def test_virtual_environments_stay_here_whatever_their_name(tmp_path: Path, mark: str) -> None:
    place(tmp_path, f"env/{mark}")
    place(tmp_path, "env/lib/x.py")
    place(tmp_path, "venv/x.py")  # only named like one
    assert names(tmp_path) == ["venv/x.py"]


def test_orchignore_has_the_last_word(tmp_path: Path) -> None:
    place(tmp_path, ".gitignore", "data/\n*.log\n")
    place(tmp_path, ".orchignore", "!data/\n!*.pyc\nnotes.md\n")
    for name in ("data/x.csv", "a.log", "a.pyc", "notes.md"):
        place(tmp_path, name)
    assert names(tmp_path) == [".gitignore", ".orchignore", "a.pyc", "data/x.csv"]


def test_gitignore_files_up_to_the_top_of_the_repository_hold(tmp_path: Path) -> None:
    (tmp_path / "repo/.git").mkdir(parents=True)
    place(tmp_path, ".gitignore", "*.py\n")  # outside the repository
    place(tmp_path, "repo/.gitignore", "*.ckpt\n/examples/secret\n")
    for name in ("train.py", "last.ckpt", "secret", "more/secret"):
        place(tmp_path, f"repo/examples/{name}")
    assert names(tmp_path / "repo/examples") == ["more/secret", "train.py"]


def test_a_folder_asked_for_by_name_travels_though_git_ignores_it(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    place(tmp_path, ".gitignore", "build/\n*.log\n")
    place(tmp_path, "build/train.py")
    assert names(tmp_path / "build") == ["train.py"]


def test_an_ignored_folder_is_not_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place(tmp_path, ".gitignore", "data/\n")
    place(tmp_path, "data/deep/x")
    place(tmp_path, "lib/x")
    entered: list[bytes] = []
    real = tree._entries

    def watched(folder: bytes) -> list[os.DirEntry[bytes]]:
        entered.append(folder)
        return real(folder)

    monkeypatch.setattr(tree, "_entries", watched)
    collect(tmp_path)
    root = os.fsencode(tmp_path)
    assert entered == [root + b"/", root + b"/lib/"]


def test_links_are_taken_as_links_and_what_is_no_file_is_not_taken(tmp_path: Path) -> None:
    place(tmp_path, "folder/x")
    (tmp_path / "to-folder").symlink_to("folder")
    (tmp_path / "to-nowhere").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "socket"))
        assert names(tmp_path) == ["folder/x", "to-folder", "to-nowhere"]


def test_a_link_as_an_ignore_file_is_not_read(tmp_path: Path) -> None:
    place(tmp_path, "elsewhere", "*\n")
    (tmp_path / ".gitignore").symlink_to("elsewhere")
    assert names(tmp_path) == [".gitignore", "elsewhere"]


def test_names_that_are_not_text_survive(tmp_path: Path) -> None:
    odd = [b"-rf", b"a b", b"a\nb", b"quote'\"", b"\xff\xfe", "é".encode(), b"#x", b";x", b"*"]
    for name in odd:
        (tmp_path / os.fsdecode(name)).write_bytes(b"")
    assert sorted(map(os.fsencode, names(tmp_path))) == sorted(odd)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SyncError, match=r"/gone is not a folder\n.*--sync"):
        collect(tmp_path / "gone")


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place(tmp_path, "closed/x")
    real = os.scandir

    def refuse(path: bytes) -> object:
        if path.endswith(b"/closed/"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(
        SyncError, match=r"/closed/ cannot be read: Permission denied\n.*orchignore"
    ):
        collect(tmp_path)


def test_too_many_files_name_the_folder_that_holds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "MOST_FILES", 5)
    for number in range(6):
        place(tmp_path, f"data/{number}")
    with pytest.raises(
        SyncError, match=r"more than 5 files, most of them in data/ .*\n.*orchignore"
    ):
        collect(tmp_path)
    shutil.rmtree(tmp_path / "data")
    assert names(tmp_path) == []
