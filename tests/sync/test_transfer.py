"""The result of a push, with the real rsync on both sides."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import SyncError
from orchestrator.remote.process import ProcessChannel
from orchestrator.sync import Progress, Pushed, collect, push, push_all
from tests.remote.fake import FakeNode


def contents(root: Path) -> dict[bytes, bytes]:
    """Return the content of every file below `root`, by its relative path."""
    files = (Path(folder) / name for folder, _, names in os.walk(root) for name in names)
    return {os.fsencode(file.relative_to(root)): file.read_bytes() for file in files}


NAMES = st.binary(min_size=1, max_size=20).filter(
    lambda name: b"\0" not in name and b"/" not in name and name not in (b".", b"..")
) | st.sampled_from(
    [b"#", b"-rf", b"--delete", b" a ", b"a\nb", b"'\"$`\\", b"#x", b";x", b"*", b"\xff", b"~"]
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(b"/".join)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(files=st.dictionaries(PATHS, st.binary(max_size=2000), min_size=1, max_size=10))
async def test_files_of_any_name_and_content_arrive(
    node: FakeNode, files: dict[bytes, bytes]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        root, target = Path(name) / "here", Path(name) / "there"
        root.mkdir()
        target.mkdir()
        for path, content in files.items():
            file = root / os.fsdecode(path)
            if not any((root / parent).is_file() for parent in Path(os.fsdecode(path)).parents):
                file.parent.mkdir(parents=True, exist_ok=True)
                if not file.is_dir():
                    file.write_bytes(content)
        tree = collect(root)
        pushed = await push(node, tree, str(target))
        chosen = {os.fsencode(file) for file in tree.files}
        expected = {path: content for path, content in contents(root).items() if path in chosen}
        assert contents(target) == expected
        assert pushed.files == len(expected)


async def test_unchanged_files_are_not_sent_again(node: FakeNode, here: Path, there: Path) -> None:
    (here / "a.py").write_text("a" * 100_000)
    (here / "b.py").write_text("b" * 100_000)
    first = await push(node, collect(here), str(there))
    second = await push(node, collect(here), str(there))
    (here / "b.py").write_text("c" * 100_000)
    third = await push(node, collect(here), str(there))
    assert [pushed.files for pushed in (first, second, third)] == [2, 0, 1]
    assert first.sent > 200_000
    assert second.sent < 1_000
    assert first.node == "node0"
    assert first.seconds > 0


async def test_script_rewritten_within_a_second_with_the_same_size_is_sent(
    node: FakeNode, here: Path, there: Path
) -> None:
    script = here / "train.py"
    script.write_text("lr = 0.1")
    os.utime(script, ns=(0, 1_700_000_000_100_000_000))
    await push(node, collect(here), str(there))
    script.write_text("lr = 0.2")
    os.utime(script, ns=(0, 1_700_000_000_200_000_000))
    await push(node, collect(here), str(there))
    assert (there / "train.py").read_text() == "lr = 0.2"


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def test_push_deletes_nothing_and_keeps_modes_of_folders(
    node: FakeNode, here: Path, there: Path, tmp_path: Path
) -> None:
    (tmp_path / "there").chmod(0o750)
    (here / "lib").mkdir()
    (here / "lib/x.py").write_text("new")
    (there / "lib").mkdir(mode=0o700)
    (there / "lib/checkpoint.pt").write_text("precious")
    (there / "train.log").write_text("old")
    await push(node, collect(here), str(there))
    assert contents(there) == {
        b"lib/x.py": b"new",
        b"lib/checkpoint.pt": b"precious",
        b"train.log": b"old",
    }
    assert (mode(there), mode(there / "lib")) == (0o750, 0o700)


async def test_folder_that_is_a_link_on_the_node_stays_a_link(
    node: FakeNode, here: Path, there: Path
) -> None:
    (there / "disk").mkdir()
    (there / "out").symlink_to("disk")
    (here / "out").mkdir()
    (here / "out/readme").write_text("x")
    await push(node, collect(here), str(there))
    assert (there / "out").is_symlink()
    assert (there / "disk/readme").read_text() == "x"


async def test_links_modes_and_times_are_kept(node: FakeNode, here: Path, there: Path) -> None:
    (here / "run.sh").write_text("#!/bin/sh\n")
    (here / "run.sh").chmod(0o755)
    os.utime(here / "run.sh", (1, 1_600_000_000))
    (here / "link").symlink_to("run.sh")
    (here / "dangling").symlink_to("/nowhere")
    await push(node, collect(here), str(there))
    arrived = (there / "run.sh").stat()
    assert (arrived.st_mode & 0o777, arrived.st_mtime) == (0o755, 1_600_000_000)
    assert (there / "link").readlink() == Path("run.sh")
    assert (there / "dangling").readlink() == Path("/nowhere")


async def test_empty_folders_arrive_with_modes_and_existing_ones_keep_theirs(
    node: FakeNode, here: Path, there: Path
) -> None:
    (here / "checkpoints").mkdir(mode=0o750)
    (here / "#odd/a\nb").mkdir(parents=True)
    await push(node, collect(here), str(there))
    assert mode(there / "checkpoints") == 0o750
    assert (there / "#odd/a\nb").is_dir()
    (there / "checkpoints/last.pt").write_text("precious")
    await push(node, collect(here), str(there))
    assert contents(there) == {b"checkpoints/last.pt": b"precious"}


async def test_empty_folder_that_is_a_link_on_the_node_stays_a_link(
    node: FakeNode, here: Path, there: Path
) -> None:
    (there / "disk").mkdir()
    (there / "checkpoints").symlink_to("disk")
    (here / "checkpoints").mkdir()
    await push(node, collect(here), str(there))
    assert (there / "checkpoints").readlink() == Path("disk")


def used(root: Path) -> int:
    """Return the bytes that a folder takes on the disk."""
    files = [Path(folder) / name for folder, _, names in os.walk(root) for name in names]
    return sum({(s := os.lstat(file)).st_ino: s.st_blocks * 512 for file in files}.values())


async def test_sparse_files_and_hard_links_are_kept(
    node: FakeNode, here: Path, there: Path
) -> None:
    data = os.urandom(1 << 20)
    with (here / "db.img").open("wb") as file:
        file.write(data)
        file.truncate(64 << 20)
    (here / "a").write_bytes(data)
    (here / "lib").mkdir()
    (here / "lib/b").hardlink_to(here / "a")
    for _ in range(2):  # the second finds them there
        await push(node, collect(here), str(there))
        assert contents(there) == contents(here)
        assert used(there) <= used(here) + (1 << 20)
        assert (there / "a").samefile(there / "lib/b")


async def test_link_replaces_an_empty_folder_and_a_file(
    node: FakeNode, here: Path, there: Path
) -> None:
    (here / "data").mkdir()
    (here / "x").write_text("x")
    await push(node, collect(here), str(there))
    (here / "data").rmdir()
    (here / "x").unlink()
    for name in ("data", "x"):
        (here / name).symlink_to("elsewhere")
    await push(node, collect(here), str(there))
    assert [(there / name).readlink() for name in ("data", "x")] == [Path("elsewhere")] * 2


@pytest.mark.parametrize(
    "name", ["a b", "-x", "quote'\"", "$HOME", "a\nb", "é", "~", "*", "a:b", "\udcff", "`id`", "{}"]
)
async def test_folders_may_have_any_name_on_both_sides(
    node: FakeNode, here: Path, there: Path, name: str
) -> None:
    for side in (here, there):
        (side / name).mkdir()
    (here / name / "x").write_text("x")
    await push(node, collect(here / name), str(there / name))
    assert contents(there) == {os.fsencode(name) + b"/x": b"x"}


async def test_relative_destination_raises_value_error(node: FakeNode, here: Path) -> None:
    with pytest.raises(ValueError, match="not an absolute path: 'there'"):
        await push(node, collect(here), "there")


async def test_push_of_an_empty_folder_sends_no_files(
    node: FakeNode, here: Path, there: Path
) -> None:
    assert (await push(node, collect(here), str(there))).files == 0


async def test_progress_rises_to_the_total(
    node: FakeNode, here: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.sync.relay._PROGRESS_INTERVAL", 0)
    (here / "data.bin").write_bytes(os.urandom(1 << 20) * 64)
    seen: list[Progress] = []
    await push(node, collect(here), str(there), on_progress=seen.append)
    sent = [progress.sent for progress in seen]
    assert sent == sorted(sent)
    assert seen[-1] == Progress("node0", 64 << 20, 64 << 20)
    assert len({progress.total for progress in seen}) == 1
    assert len(seen) > 2


async def test_rsync_variables_of_the_user_are_ignored(
    node: FakeNode, here: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSYNC_RSH", "false")
    monkeypatch.setenv("RSYNC_OLD_ARGS", "1")
    monkeypatch.setenv("RSYNC_PARTIAL_DIR", "/nowhere")
    (here / "x").write_text("x")
    assert (await push(node, collect(here), str(there))).files == 1


async def test_file_that_is_gone_before_the_push_is_ignored(
    node: FakeNode, here: Path, there: Path
) -> None:
    (here / "old.log").write_text("x")
    (here / "train.py").write_text("x")
    tree = collect(here)
    (here / "old.log").unlink()
    pushed = await push(node, tree, str(there))
    assert (pushed.files, pushed.warning) == (1, None)


async def test_file_that_vanishes_during_the_push_is_a_warning(
    node: FakeNode, here: Path, there: Path
) -> None:
    with (here / "a.bin").open("wb") as file:
        file.truncate(100 << 20)
    (here / "b.log").write_text("x")
    tree = collect(here)

    def vanish(progress: Progress) -> None:
        if progress.sent:
            (here / "b.log").unlink(missing_ok=True)

    pushed = await push(node, tree, str(there), on_progress=vanish)
    assert pushed.warning is not None
    assert "b.log" in pushed.warning


async def test_push_all_is_limited_ordered_and_reports_each_failure(
    make_node: Callable[[str], FakeNode],
    here: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (here / "x").write_text("x")
    tree = collect(here)
    targets = [
        (make_node(f"node{number}"), str(tmp_path / f"there{number}")) for number in range(6)
    ]
    for number in (0, 1, 3, 4, 5):  # not even the parent folder for node2
        (tmp_path / f"there{number}").mkdir()
    targets[2] = (targets[2][0], str(tmp_path / "no/folder"))
    open_channels: set[ProcessChannel] = set()
    most = 0
    real_open, real_close = FakeNode.open, ProcessChannel.close

    async def count_open(self: FakeNode, script: str) -> ProcessChannel:
        nonlocal most
        channel = await real_open(self, script)
        open_channels.add(channel)
        most = max(most, len(open_channels))
        return channel

    def count_close(self: ProcessChannel) -> None:
        open_channels.discard(self)
        real_close(self)

    monkeypatch.setattr(FakeNode, "open", count_open)
    monkeypatch.setattr(ProcessChannel, "close", count_close)
    results = await push_all([(*target, tree) for target in targets], limit=3)
    assert [type(result) for result in results] == [Pushed, Pushed, SyncError] + [Pushed] * 3
    assert [result.node for result in results if isinstance(result, Pushed)] == [
        f"node{number}" for number in (0, 1, 3, 4, 5)
    ]
    assert str(results[2]).startswith("node2: ")
    assert 1 < most <= 3
