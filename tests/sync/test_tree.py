"""The files of a folder that are sent."""

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


def test_tree_has_sorted_relative_paths_and_its_size(tmp_path: Path) -> None:
    place(tmp_path, "train.py", "12345")
    place(tmp_path, "lib/b.py", "67")
    place(tmp_path, "lib/a.py")
    found = collect(tmp_path)
    assert found.files == ("lib/a.py", "lib/b.py", "train.py")
    assert (found.root, found.size, found.count) == (tmp_path, 7, 3)
    assert found.listing == b"lib/a.py\0lib/b.py\0train.py\0"


def test_version_control_caches_and_leftovers_are_left_out(tmp_path: Path) -> None:
    for name in (".git/HEAD", "sub/.git", "__pycache__/a.cpython-311.pyc", "a.pyc", "lib/b.pyo",
                 ".mypy_cache/x", ".ruff_cache/x", ".pytest_cache/x", "lib/.ipynb_checkpoints/x",
                 ".DS_Store", "web/node_modules/x/y", ".orch-partial/big.bin", ".hg/x"):  # fmt: skip
        place(tmp_path, name)
    place(tmp_path, "lib/kept.py")
    assert names(tmp_path) == ["lib/kept.py"]


@pytest.mark.parametrize("mark", ["pyvenv.cfg", "conda-meta/history"])
def test_virtual_environments_of_any_name_are_left_out(tmp_path: Path, mark: str) -> None:
    place(tmp_path, f"env/{mark}")
    place(tmp_path, "env/lib/x.py")
    place(tmp_path, "venv/x.py")  # only named like one
    assert names(tmp_path) == ["venv/x.py"]


def test_orchignore_overrides_gitignore_and_defaults(tmp_path: Path) -> None:
    place(tmp_path, ".gitignore", "data/\n*.log\n")
    place(tmp_path, ".orchignore", "!data/\n!*.pyc\nnotes.md\n")
    for name in ("data/x.csv", "a.log", "a.pyc", "notes.md"):
        place(tmp_path, name)
    assert names(tmp_path) == [".gitignore", ".orchignore", "a.pyc", "data/x.csv"]


def test_gitignore_files_up_to_the_top_of_the_repository_apply(tmp_path: Path) -> None:
    (tmp_path / "repo/.git").mkdir(parents=True)
    place(tmp_path, ".gitignore", "*.py\n")  # outside the repository
    place(tmp_path, "repo/.gitignore", "*.ckpt\n/examples/secret\n")
    for name in ("train.py", "last.ckpt", "secret", "more/secret"):
        place(tmp_path, f"repo/examples/{name}")
    assert names(tmp_path / "repo/examples") == ["more/secret", "train.py"]


def test_ignored_folder_that_is_named_is_sent(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    place(tmp_path, ".gitignore", "build/\n*.log\n")
    place(tmp_path, "build/train.py")
    assert names(tmp_path / "build") == ["train.py"]


def test_ignored_folder_is_not_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_links_are_sent_as_links_and_special_files_left_out(tmp_path: Path) -> None:
    place(tmp_path, "folder/x")
    (tmp_path / "to-folder").symlink_to("folder")
    (tmp_path / "to-nowhere").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "socket"))
        assert names(tmp_path) == ["folder/x", "to-folder", "to-nowhere"]


def test_ignore_file_that_is_a_link_is_not_read(tmp_path: Path) -> None:
    place(tmp_path, "elsewhere", "*\n")
    (tmp_path / ".gitignore").symlink_to("elsewhere")
    assert names(tmp_path) == [".gitignore", "elsewhere"]


def test_names_that_are_not_utf_8_are_kept(tmp_path: Path) -> None:
    odd = [b"-rf", b"a b", b"a\nb", b"quote'\"", b"\xff\xfe", "é".encode(), b"#x", b";x", b"*"]
    for name in odd:
        (tmp_path / os.fsdecode(name)).write_bytes(b"")
    assert sorted(map(os.fsencode, names(tmp_path))) == sorted(odd)


def test_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SyncError, match=r"/gone is not a folder\n.*--sync"):
        collect(tmp_path / "gone")


def test_unreadable_folder_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_too_many_files_are_reported_with_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "MAX_FILES", 5)
    for number in range(6):
        place(tmp_path, f"data/{number}")
    with pytest.raises(
        SyncError, match=r"more than 5 files, most of them in data/ .*\n.*orchignore"
    ):
        collect(tmp_path)
    shutil.rmtree(tmp_path / "data")
    assert names(tmp_path) == []


def test_entries_have_kind_size_time_mode_and_target(tmp_path: Path) -> None:
    place(tmp_path, "run.sh", "12345")
    (tmp_path / "run.sh").chmod(0o750)
    os.utime(tmp_path / "run.sh", ns=(0, 1_700_000_000_123_456_789))
    (tmp_path / "link").symlink_to("run.sh")
    (tmp_path / "empty").mkdir(mode=0o700)
    folder, link, file = collect(tmp_path).entries
    assert file == tree.Entry("run.sh", "file", 5, 1_700_000_000_123_456_789, 0o750)
    assert folder == tree.Entry("empty", "folder", 0, 0, 0o700)
    assert (link.path, link.kind, link.size, link.mode, link.target) == (
        "link", "link", 0, 0, "run.sh",
    )  # fmt: skip


def test_folders_without_entries_are_entries(tmp_path: Path) -> None:
    place(tmp_path, ".gitignore", "*.pt\nscratch/\n")
    for name in ("a/b/c", "scratch/x", "checkpoints", "lib/__pycache__"):
        (tmp_path / name).mkdir(parents=True)
    place(tmp_path, "checkpoints/last.pt")
    place(tmp_path, "venv/pyvenv.cfg")
    found = collect(tmp_path)
    folders = [entry.path for entry in found.entries if entry.kind == "folder"]
    assert folders == ["a/b/c", "checkpoints", "lib"]
    assert found.files == (".gitignore",)
    assert found.listing == b".gitignore\0a/b/c\0checkpoints\0lib\0"


def test_file_with_several_names_counts_once(tmp_path: Path) -> None:
    place(tmp_path, "a", "12345")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    place(tmp_path, "outside/c", "123")
    (tmp_path / "d").mkdir()
    (tmp_path / "d/e").hardlink_to(tmp_path / "outside/c")
    found = collect(tmp_path)
    assert (found.count, found.size, len(found.repeated)) == (4, 8, 2)
    assert collect(tmp_path / "d").repeated == frozenset()


def test_digest_changes_only_with_what_is_sent(tmp_path: Path) -> None:
    place(tmp_path, "one/a.py", "x")
    (tmp_path / "one/link").symlink_to("a.py")
    (tmp_path / "one/empty").mkdir()
    shutil.copytree(tmp_path / "one", tmp_path / "two", symlinks=True)
    same = os.lstat(tmp_path / "one/link").st_mtime_ns
    os.utime(tmp_path / "two/link", ns=(same, same), follow_symlinks=False)
    first = collect(tmp_path / "one").digest
    assert first == collect(tmp_path / "two").digest
    place(tmp_path, "one/__pycache__/a.pyc", "y")
    assert collect(tmp_path / "one").digest == first
    seen = {first}
    (tmp_path / "one/a.py").chmod(0o755)
    seen.add(collect(tmp_path / "one").digest)
    os.utime(tmp_path / "one/a.py", ns=(0, 1))
    seen.add(collect(tmp_path / "one").digest)
    (tmp_path / "one/link").unlink()
    (tmp_path / "one/link").symlink_to("b.py")
    seen.add(collect(tmp_path / "one").digest)
    (tmp_path / "one/empty").rmdir()
    seen.add(collect(tmp_path / "one").digest)
    assert len(seen) == 5


@pytest.mark.parametrize(
    ("place", "target", "leads_out"),
    [
        ("link", "/data/imagenet", True),
        ("link", "../data", True),
        ("lib/link", "../../data", True),
        ("link", "..", True),
        ("lib/link", "../data", False),
        ("link", "lib/../x", False),
        ("link", "..data", False),
        ("link", ".", False),
    ],
)
def test_links_out_yields_links_that_lead_out(
    tmp_path: Path, place: str, target: str, leads_out: bool
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / place).symlink_to(target)
    assert [entry.path for entry in collect(tmp_path).links_out()] == [place] * leads_out


def test_state_folder_of_orch_is_left_out(tmp_path: Path) -> None:
    place(tmp_path, "home/.local/state/orch/runs/r/run.json")
    place(tmp_path, "home/.local/state/other/x")
    assert names(tmp_path) == ["home/.local/state/other/x"]
