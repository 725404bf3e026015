from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.logs import store as store_module
from orchestrator.logs.store import GapError, Store
from orchestrator.logs.stream import Stream

OUT = Stream("node0", 0, 0, 0, "stdout")
ERR = Stream("node0", 0, 0, 0, "stderr")
LAUNCHER = Stream("node1", 1, None, None, "stdout")

TRUTH = bytes(range(256)) * 2


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def copy(root: Path, stream: Stream) -> bytes:
    return (root / stream.node / stream.path).read_bytes()


def test_copy_is_below_node_and_attempt(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(OUT, 0, b"a\xff\r", 1.0)
    store.append(LAUNCHER, 0, b"b", 1.0)
    store.close()
    assert (tmp_path / "node0/attempt-0/rank-0.out").read_bytes() == b"a\xff\r"
    assert (tmp_path / "node1/attempt-1/launcher.out").read_bytes() == b"b"


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 200), st.booleans()), max_size=20))
def test_copy_is_always_a_prefix(chunks: list[tuple[int, int, bool]]) -> None:
    """With chunks that repeat, overlap or leave a gap, and a controller that restarts."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        store, shown = Store(root), b""
        for offset, length, again in chunks:
            had = store.size(OUT)
            try:
                shown += store.append(OUT, offset, TRUTH[offset : offset + length], 1.0)
            except GapError:
                assert offset > had
            if again:
                store.close()
                store = Store(root)
            assert store.size(OUT) == len(shown)
            assert shown == TRUTH[: len(shown)]
            if shown:
                assert copy(root, OUT) == shown
        store.close()


def test_gap_is_refused_with_both_offsets(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(OUT, 0, b"abc", 1.0)
    with pytest.raises(
        GapError,
        match=r"attempt-0/rank-0\.out: a chunk starts at byte 5, but .* ends at byte 3",
    ):
        store.append(OUT, 5, b"x", 1.0)
    store.close()
    assert copy(tmp_path, OUT) == b"abc"


def test_sizes_are_the_offsets_to_resume_from(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.sizes("node0") == {}
    assert store.size(OUT) == 0
    store.append(OUT, 0, b"abc", 1.0)
    store.append(ERR, 0, b"x", 1.0)
    store.append(LAUNCHER, 0, b"xy", 1.0)
    store.close()
    (tmp_path / "node0/attempt-0/rank-0.out.swp").touch()
    again = Store(tmp_path)
    assert again.sizes("node0") == {"attempt-0/rank-0.out": 3, "attempt-0/rank-0.err": 1}
    assert again.size(LAUNCHER) == 2


def test_logs_are_private(tmp_path: Path) -> None:
    root = tmp_path / "logs"
    store = Store(root)
    store.append(OUT, 0, b"abc", 1.0)
    store.close()
    for path in (root, *root.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_two_controllers_can_store_one_run(tmp_path: Path) -> None:
    one, two = Store(tmp_path), Store(tmp_path)
    one.append(OUT, 0, b"abc", 1.0)
    two.append(OUT, 0, b"abcdef", 1.0)
    one.append(OUT, 3, b"def", 1.0)
    one.close()
    two.close()
    assert copy(tmp_path, OUT) == b"abcdef"


def test_number_of_open_files_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MAX_OPEN", 4)
    store = Store(tmp_path)
    before = open_files()
    for offset in range(3):
        for rank in range(10):
            store.append(Stream("node0", 0, rank, rank, "stdout"), offset, b"x", 1.0)
            assert open_files() <= before + 4
    assert set(store.sizes("node0").values()) == {3}
    store.close()
    assert open_files() == before


def test_full_disk_raises_and_leaves_a_prefix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    room = 5
    pwrite = os.pwrite

    def until_full(descriptor: int, data: bytes, offset: int) -> int:
        nonlocal room
        if room == 0:
            raise OSError(28, "No space left on device")
        written = pwrite(descriptor, data[:room], offset)
        room -= written
        return written

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", until_full)
        with pytest.raises(OSError, match="No space left"):
            store.append(OUT, 0, b"abcdefgh", 1.0)
    assert copy(tmp_path, OUT) == b"abcde"
    assert store.size(OUT) == 5
    assert store.append(OUT, 0, b"abcdefgh", 2.0) == b"fgh"
    store.close()
    assert copy(tmp_path, OUT) == b"abcdefgh"


def test_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "node0/attempt-0").mkdir(parents=True)
    (tmp_path / "node0/attempt-0/rank-0.out").symlink_to(tmp_path / "elsewhere")
    store = Store(tmp_path)
    with pytest.raises(OSError, match="symbolic link"):
        store.append(OUT, 0, b"x", 1.0)
    store.close()
    assert not (tmp_path / "elsewhere").exists()


def test_removed_run_is_not_created_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "removed" / "logs")
    with pytest.raises(FileNotFoundError):
        store.append(OUT, 0, b"x", 1.0)
    assert not (tmp_path / "removed").exists()
