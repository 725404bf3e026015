"""The result of a fetch, with the real rsync on both sides."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import SyncError
from orchestrator.sync import Progress
from orchestrator.sync.landing import Landing, select_files
from orchestrator.sync.receive import receive
from orchestrator.sync.remote_files import RemoteFile
from tests.remote.fake import FakeNode

from .conftest import Node
from .remote import described, listed
from .test_transfer import PATHS, contents


@pytest.fixture(autouse=True)
def _report_every_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.sync.relay._PROGRESS_INTERVAL", 0)


async def fetch(
    node: FakeNode,
    there: Path,
    here: Path,
    files: list[RemoteFile] | None = None,
    *,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> list[str]:
    """Fetch new files; return the paths of those that are in place."""
    found = select_files(listed(there) if files is None else files, here, overwrite=overwrite)
    with Landing(here) as landing:
        regular = [file for file in found.wanted if file.kind == "file"]
        if regular:
            await receive(node, str(there), regular, landing.arrived, on_progress=on_progress)
        landed, _ = landing.land(found.wanted, overwrite=overwrite)
        landing.forget()
    return [file.path for file in landed]


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(files=st.dictionaries(PATHS, st.binary(max_size=2000), min_size=1, max_size=10))
async def test_files_of_any_name_and_content_arrive(
    node: FakeNode, files: dict[bytes, bytes]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        there, here = Path(name) / "there", Path(name) / "here"
        there.mkdir()
        for path, content in files.items():
            file = there / os.fsdecode(path)
            if not any((there / parent).is_file() for parent in Path(os.fsdecode(path)).parents):
                file.parent.mkdir(parents=True, exist_ok=True)
                if not file.is_dir():
                    file.write_bytes(content)
        await fetch(node, there, here)
        assert contents(here) == {**contents(there), b".orch-fetched": b""}
        assert await fetch(node, there, here) == []


async def test_modes_times_and_links_are_kept(node: FakeNode, here: Path, there: Path) -> None:
    (there / "ckpt").mkdir()
    (there / "ckpt/1.pt").write_bytes(b"x" * 5000)
    (there / "ckpt/1.pt").chmod(0o4751)
    os.utime(there / "ckpt/1.pt", ns=(0, 1_700_000_000_123_456_789))
    (there / "ckpt/last.pt").symlink_to("1.pt")
    await fetch(node, there, here)
    status = (here / "ckpt/1.pt").stat()
    assert status.st_mode & 0o7777 == 0o751, "a node must not set the setuid bit"
    assert status.st_mtime_ns == 1_700_000_000_123_456_789
    assert (here / "ckpt/last.pt").readlink() == Path("1.pt")
    assert not (here / ".orch-partial").exists()


async def test_sparse_file_stays_sparse(node: FakeNode, here: Path, there: Path) -> None:
    with (there / "sparse.pt").open("wb") as file:
        file.write(b"x" * 4096)
        file.truncate(64 << 20)
    await fetch(node, there, here)
    assert (here / "sparse.pt").stat().st_size == 64 << 20
    assert (here / "sparse.pt").stat().st_blocks * 512 < 1 << 20


async def test_newer_file_is_kept_unless_overwrite(node: FakeNode, here: Path, there: Path) -> None:
    (there / "log").write_text("theirs")
    os.utime(there / "log", ns=(0, 1_700_000_000_000_000_000))
    (here / "log").write_text("mine")
    (skipped,) = select_files(listed(there), here, overwrite=False).skipped
    assert (skipped.path, skipped.is_newer) == ("log", True)
    assert await fetch(node, there, here) == []
    assert (here / "log").read_text() == "mine"
    assert await fetch(node, there, here, overwrite=True) == ["log"]
    assert (here / "log").read_text() == "theirs"


async def test_older_file_is_replaced(node: FakeNode, here: Path, there: Path) -> None:
    (here / "log").write_text("old")
    os.utime(here / "log", ns=(0, 1_700_000_000_000_000_000))
    (there / "log").write_text("new")
    assert await fetch(node, there, here) == ["log"]
    assert (here / "log").read_text() == "new"


async def test_link_in_the_destination_is_not_followed(
    node: FakeNode, here: Path, there: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.pt").write_text("precious")
    os.utime(outside / "x.pt", ns=(0, 0))
    (here / "ckpt").symlink_to(outside)
    (here / "y.pt").symlink_to(outside / "x.pt")
    os.utime(here / "y.pt", ns=(0, 0), follow_symlinks=False)
    (there / "ckpt").mkdir()
    (there / "ckpt/x.pt").write_text("theirs")
    (there / "y.pt").write_text("theirs")
    skipped = select_files(listed(there), here, overwrite=True).skipped
    assert [(each.path, each.why) for each in skipped] == [
        ("ckpt/x.pt", "ckpt is not a folder here")
    ]
    assert await fetch(node, there, here, overwrite=True) == ["y.pt"]
    assert (outside / "x.pt").read_text() == "precious"
    assert not (here / "y.pt").is_symlink()


async def test_folder_in_the_destination_is_not_replaced(
    node: FakeNode, here: Path, there: Path
) -> None:
    (here / "log").mkdir()
    (here / "log/mine").write_text("precious")
    (there / "log").write_text("theirs")
    assert await fetch(node, there, here, overwrite=True) == []
    assert (here / "log/mine").read_text() == "precious"


async def test_link_that_leads_out_is_skipped(node: FakeNode, here: Path, there: Path) -> None:
    (there / "passwd").symlink_to("/etc/passwd")
    (there / "up").symlink_to("../..")
    (skipped, other) = select_files(listed(there), here, overwrite=True).skipped
    assert "leads out of the folder" in skipped.why + other.why
    assert await fetch(node, there, here) == []
    assert not (here / "passwd").is_symlink()


async def test_files_that_were_not_requested_are_not_put_in_place(
    node: Node, here: Path, there: Path, tmp_path: Path
) -> None:
    evil = tmp_path / "evil"
    (evil / "sub").mkdir(parents=True)
    (evil / "log").write_text("log")
    (evil / "sub/authorized_keys").write_text("theirs")
    (evil / "link").symlink_to("/tmp")
    (there / "log").write_text("log")
    # A sender that is asked for `log`, and sends all of another folder, with links.
    node.rewrite = lambda script: (
        f"exec rsync --server --sender -lrptR . {evil}/./ # {script}"
        if "--sender" in script
        else script
    )
    with pytest.raises(SyncError):
        await fetch(node, there, here, [described(there, "log")])
    assert [name for name in contents(here) if not name.startswith(b".orch-")] == []


async def test_node_that_sends_more_than_it_listed_is_cut_off(
    node: FakeNode, here: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.sync.receive._SLACK", 1000)
    (there / "log").write_bytes(b"x" * 1000)
    files = listed(there)
    (there / "log").write_bytes(os.urandom(5 << 20))
    with pytest.raises(SyncError, match="sends more than it has listed"):
        await fetch(node, there, here, files)
    assert not (here / "log").exists()


async def test_no_file_becomes_larger_than_the_largest_that_was_listed(
    node: FakeNode, here: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.sync.receive._SLACK", 1000)
    monkeypatch.setattr("orchestrator.sync.receive._OVERHEAD", 100 << 20)
    (there / "log").write_bytes(b"x" * 1000)
    files = listed(there)
    (there / "log").write_bytes(os.urandom(1 << 20))
    with pytest.raises(SyncError):
        await fetch(node, there, here, files)
    assert all(len(content) < 5000 for content in contents(here).values())


async def test_file_that_vanished_from_the_node_is_skipped(
    node: FakeNode, here: Path, there: Path
) -> None:
    (there / "a").write_text("a")
    (there / "b").write_text("b")
    files = listed(there)
    (there / "a").unlink()
    assert await fetch(node, there, here, files) == ["b"]


async def test_progress_rises_to_the_total(node: FakeNode, here: Path, there: Path) -> None:
    (there / "big").write_bytes(os.urandom(8 << 20))
    seen: list[Progress] = []
    await fetch(node, there, here, on_progress=seen.append)
    assert [each.sent for each in seen] == sorted(each.sent for each in seen)
    assert seen[-1] == Progress("node0", 8 << 20, 8 << 20)
    assert any(0 < each.sent < each.total for each in seen)


class _Stop(Exception):
    pass


async def test_interrupted_fetch_leaves_no_partial_file_and_is_resumed(
    node: Node, here: Path, there: Path
) -> None:
    (there / "big").write_bytes(os.urandom(64 << 20))
    received: list[int] = []

    def stop(progress: Progress) -> None:
        if progress.sent > progress.total // 2:
            raise _Stop

    with pytest.raises(_Stop):
        await fetch(node, there, here, on_progress=stop)
    assert not (here / "big").exists()
    assert await fetch(node, there, here, on_progress=lambda p: received.append(p.sent)) == ["big"]
    assert (here / "big").read_bytes() == (there / "big").read_bytes()
    assert max(received[:-1]) < 40 << 20, "half of it had arrived"
    assert not (here / ".orch-partial").exists()


async def test_second_fetch_into_the_same_folder_is_refused(here: Path) -> None:
    with Landing(here), pytest.raises(SyncError, match=r"another fetch into .* is running"):
        Landing(here).__enter__()
    with Landing(here):
        pass


async def test_missing_rsync_on_the_node_is_reported(node: Node, here: Path, there: Path) -> None:
    (there / "log").write_text("log")
    node.rewrite = lambda script: f"PATH=/nothing {script}"
    with pytest.raises(SyncError) as caught:
        await fetch(node, there, here)
    assert "rsync is not installed on the node" in str(caught.value)
    assert "scp" in str(caught.value)


async def test_unreadable_file_on_the_node_does_not_prevent_others(
    node: Node, here: Path, there: Path
) -> None:
    (there / "a").write_text("a")
    node.rewrite = lambda script: (
        "echo 'rsync: [sender] send_files failed to open \"/x/b\": Permission denied (13)' >&2; "
        f"{script.removeprefix('exec ')}; exit 23"
    )
    with Landing(here) as landing:
        with pytest.raises(SyncError, match="a file on the node cannot be read") as caught:
            await receive(node, str(there), listed(there), landing.arrived)
        assert '"/x/b"' in str(caught.value)
        landed, _ = landing.land(listed(there), overwrite=False, only_as_listed=True)
    assert [file.path for file in landed] == ["a"]


async def test_broken_connection_is_reported(node: FakeNode, here: Path, there: Path) -> None:
    (there / "big").write_bytes(os.urandom(16 << 20))

    def cut(progress: Progress) -> None:
        if 0 < progress.sent < progress.total:
            node.drop()

    with pytest.raises(SyncError, match=r"^node0: the connection broke\n.*run it again"):
        await fetch(node, there, here, on_progress=cut)
    assert not (here / "big").exists()


async def test_hanging_node_times_out(node: Node, here: Path, there: Path) -> None:
    (there / "log").write_text("log")
    node.rewrite = lambda script: "exec sleep 60"
    with Landing(here) as landing, pytest.raises(SyncError, match=r"no data for 0\.3 s"):
        await receive(node, str(there), listed(there), landing.arrived, stall_timeout=0.3)


@pytest.mark.lab
async def test_full_disk_is_reported_and_the_next_fetch_resumes(
    node: FakeNode, there: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()

    async def run(*words: str | Path) -> None:
        await asyncio.to_thread(subprocess.run, words, check=True)

    await run("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk)
    try:
        (there / "big").write_bytes(os.urandom(12 << 20))
        here = disk / "results"
        with pytest.raises(SyncError) as caught:
            await fetch(node, there, here)
        assert str(caught.value).startswith("node0: the disk of this machine that holds ")
        assert "free some space" in str(caught.value)
        assert not (here / "big").exists()
        await run("mount", "-o", "remount,size=64m", disk)
        received: list[int] = []
        await fetch(node, there, here, on_progress=lambda p: received.append(p.sent))
        assert (here / "big").read_bytes() == (there / "big").read_bytes()
        assert max(received[:-1], default=0) < 11 << 20
    finally:
        await run("umount", "-l", disk)
