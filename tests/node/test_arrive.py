"""Small files arrive in a request just as rsync would leave them."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.node import arrive
from orchestrator.sync import collect
from orchestrator.sync.client import _OPTIONS, local_rsync
from orchestrator.sync.small import MOST_BYTES, MOST_FILES, packed_files

NAMES = st.sampled_from(["a", "b.py", "#c", "d e", "\udcff", "x" * 255, "-v"])
FILES = st.tuples(
    st.just("file"), st.binary(max_size=50), st.sampled_from([0o644, 0o755, 0o600, 0o444])
)
LINKS = st.tuples(st.just("link"), st.sampled_from(["a", "../out", "/abs", "gone"]), st.just(0))
FOLDERS = st.tuples(st.just("folder"), st.none(), st.sampled_from([0o755, 0o700]))
TREES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map(tuple), FILES | LINKS | FOLDERS, max_size=6
)


def make(root: Path, tree: dict[tuple[str, ...], tuple[str, Any, int]]) -> None:
    root.mkdir()
    for number, (names, (kind, content, mode)) in enumerate(tree.items()):
        path = root.joinpath(*names)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "file":
                path.write_bytes(content)
            elif kind == "link":
                path.symlink_to(content)
            else:
                path.mkdir()
        except OSError:  # another entry is in the way
            continue
        if kind != "link":
            path.chmod(mode)
        at = 1_700_000_000_123_456_789 + number
        os.utime(path, ns=(at, at), follow_symlinks=False)


def contents(root: Path) -> dict[str, tuple[Any, ...]]:
    found: dict[str, tuple[Any, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        kind, mode = stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode)
        name = str(path.relative_to(root))
        if stat.S_ISLNK(status.st_mode):
            found[name] = (kind, status.st_mtime_ns, path.readlink())
        elif stat.S_ISREG(status.st_mode):
            found[name] = (kind, status.st_mtime_ns, mode, path.read_bytes())
        else:
            found[name] = (kind, mode)
    return found


@settings(max_examples=25, deadline=None)
@given(TREES, TREES)
def test_files_arrive_as_with_rsync(here: Any, before: Any) -> None:
    with tempfile.TemporaryDirectory() as top:
        source, ours, theirs = (Path(top, name) for name in ("source", "ours", "theirs"))
        make(source, here)
        make(ours, before)
        make(theirs, before)
        tree = collect(source)
        done = subprocess.run(
            [local_rsync().path, *_OPTIONS, f"{source}/", f"{theirs}/"],
            input=tree.listing, capture_output=True, check=False,
        )  # fmt: skip
        text = packed_files(tree, tree.entries)
        assert text is not None
        if done.returncode != 0:  # something is in the way, which `compare` reports before
            return
        with suppress(IsADirectoryError):  # `begin` removes an empty folder that is in the way
            arrive.write(str(ours), arrive.unpack(text))
            assert contents(ours) == contents(theirs)


def test_file_in_use_keeps_its_old_bytes(tmp_path: Path) -> None:
    make(tmp_path / "here", {("train.py",): ("file", b"new", 0o644)})
    make(tmp_path / "there", {("train.py",): ("file", b"old bytes", 0o644)})
    with (tmp_path / "there/train.py").open("rb") as opened:
        tree = collect(tmp_path / "here")
        arrive.write(str(tmp_path / "there"), arrive.unpack(packed_files(tree, tree.entries) or ""))
        assert opened.read() == b"old bytes"
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["train.py"]


def test_failed_write_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "here", {("train.py",): ("file", b"new", 0o644)})
    (tmp_path / "there").mkdir()
    tree = collect(tmp_path / "here")
    arrived = arrive.unpack(packed_files(tree, tree.entries) or "")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "utime", full)
    with pytest.raises(OSError, match="No space"):
        arrive.write(str(tmp_path / "there"), arrived)
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "", "a\0b"])
def test_path_that_leads_out_is_refused(path: str) -> None:
    import base64
    import json
    import zlib

    rows = json.dumps([[path, "file", 1, 0, 0o644, "", ""]]).encode()
    with pytest.raises(ValueError, match="not a path below"):
        arrive.unpack(base64.b64encode(zlib.compress(rows)).decode())


def test_large_and_many_files_are_left_to_rsync(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(MOST_BYTES + 1))
    tree = collect(tmp_path)
    assert packed_files(tree, tree.entries) is None
    assert packed_files(tree, tree.entries * 0) is not None
    (tmp_path / "large").write_bytes(b"small")
    assert packed_files(tree, tree.entries) is None  # since it has changed
    tree = collect(tmp_path)
    assert packed_files(tree, tree.entries) is not None
    assert packed_files(tree, tree.entries * (MOST_FILES + 1)) is None


def test_names_of_one_file_are_left_to_rsync(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("1")
    (tmp_path / "two").hardlink_to(tmp_path / "one")
    tree = collect(tmp_path)
    assert packed_files(tree, tree.entries) is None
