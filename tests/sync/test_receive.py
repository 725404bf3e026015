"""What is here after a fetch, with the real rsync at both ends."""

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
from orchestrator.sync.landing import Landing, sort_out
from orchestrator.sync.receive import receive
from orchestrator.sync.remote_files import RemoteFile
from tests.remote.fake import FakeNode

from .conftest import Node
from .remote import described, listed
from .test_transfer import PATHS, contents


@pytest.fixture(autouse=True)
def _told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.sync.converse._PROGRESS_PERIOD", 0)


async def bring(
    node: FakeNode,
    there: Path,
    here: Path,
    files: list[RemoteFile] | None = None,
    *,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> list[str]:
    """Fetch what is new; return the paths of what is in its place."""
    found = sort_out(listed(there) if files is None else files, here, overwrite=overwrite)
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
async def test_every_name_and_every_byte_comes(node: FakeNode, files: dict[bytes, bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        there, here = Path(name) / "there", Path(name) / "here"
        there.mkdir()
        for path, content in files.items():
            file = there / os.fsdecode(path)
            if not any((there / parent).is_file() for parent in Path(os.fsdecode(path)).parents):
                file.parent.mkdir(parents=True, exist_ok=True)
                if not file.is_dir():
                    file.write_bytes(content)
        await bring(node, there, here)
        assert contents(here) == {**contents(there), b".orch-fetched": b""}
        assert await bring(node, there, here) == []


async def test_modes_times_and_links_are_kept(node: FakeNode, here: Path, there: Path) -> None:
    (there / "ckpt").mkdir()
    (there / "ckpt/1.pt").write_bytes(b"x" * 5000)
    (there / "ckpt/1.pt").chmod(0o4751)
    os.utime(there / "ckpt/1.pt", ns=(0, 1_700_000_000_123_456_789))
    (there / "ckpt/last.pt").symlink_to("1.pt")
    await bring(node, there, here)
    status = (here / "ckpt/1.pt").stat()
    assert status.st_mode & 0o7777 == 0o751, "no node makes a file here run as its owner"
    assert status.st_mtime_ns == 1_700_000_000_123_456_789
    assert (here / "ckpt/last.pt").readlink() == Path("1.pt")
    assert not (here / ".orch-partial").exists()


async def test_a_sparse_file_takes_up_no_more_here(node: FakeNode, here: Path, there: Path) -> None:
    with (there / "sparse.pt").open("wb") as file:
        file.write(b"x" * 4096)
        file.truncate(64 << 20)
    await bring(node, there, here)
    assert (here / "sparse.pt").stat().st_size == 64 << 20
    assert (here / "sparse.pt").stat().st_blocks * 512 < 1 << 20


async def test_a_newer_file_here_stays_unless_it_is_to_be_overwritten(
    node: FakeNode, here: Path, there: Path
) -> None:
    (there / "log").write_text("theirs")
    os.utime(there / "log", ns=(0, 1_700_000_000_000_000_000))
    (here / "log").write_text("mine")
    (left,) = sort_out(listed(there), here, overwrite=False).left
    assert (left.path, left.is_newer) == ("log", True)
    assert await bring(node, there, here) == []
    assert (here / "log").read_text() == "mine"
    assert await bring(node, there, here, overwrite=True) == ["log"]
    assert (here / "log").read_text() == "theirs"


async def test_an_older_file_here_is_replaced(node: FakeNode, here: Path, there: Path) -> None:
    (here / "log").write_text("old")
    os.utime(here / "log", ns=(0, 1_700_000_000_000_000_000))
    (there / "log").write_text("new")
    assert await bring(node, there, here) == ["log"]
    assert (here / "log").read_text() == "new"


async def test_a_link_here_is_never_followed(
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
    left = sort_out(listed(there), here, overwrite=True).left
    assert [(each.path, each.why) for each in left] == [("ckpt/x.pt", "ckpt is here no folder")]
    assert await bring(node, there, here, overwrite=True) == ["y.pt"]
    assert (outside / "x.pt").read_text() == "precious"
    assert not (here / "y.pt").is_symlink()


async def test_a_folder_here_is_never_replaced(node: FakeNode, here: Path, there: Path) -> None:
    (here / "log").mkdir()
    (here / "log/mine").write_text("precious")
    (there / "log").write_text("theirs")
    assert await bring(node, there, here, overwrite=True) == []
    assert (here / "log/mine").read_text() == "precious"


async def test_a_link_that_leads_out_is_left(node: FakeNode, here: Path, there: Path) -> None:
    (there / "passwd").symlink_to("/etc/passwd")
    (there / "up").symlink_to("../..")
    (left, other) = sort_out(listed(there), here, overwrite=True).left
    assert "leads out of the folder" in left.why + other.why
    assert await bring(node, there, here) == []
    assert not (here / "passwd").is_symlink()


async def test_a_node_that_sends_other_files_puts_none_in_their_place(
    node: Node, here: Path, there: Path, tmp_path: Path
) -> None:
    evil = tmp_path / "evil"
    (evil / "sub").mkdir(parents=True)
    (evil / "log").write_text("log")
    (evil / "sub/authorized_keys").write_text("theirs")
    (evil / "link").symlink_to("/tmp")
    (there / "log").write_text("log")
    # A sender that is asked for `log` and sends all of another folder, links too.
    node.rewrite = lambda script: (
        f"exec rsync --server --sender -lrptR . {evil}/./ # {script}"
        if "--sender" in script
        else script
    )
    with pytest.raises(SyncError):
        await bring(node, there, here, [described(there, "log")])
    assert [name for name in contents(here) if not name.startswith(b".orch-")] == []


async def test_a_node_that_sends_more_than_it_listed_is_cut_off(
    node: FakeNode, here: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.sync.receive._SLACK", 1000)
    (there / "log").write_bytes(b"x" * 1000)
    files = listed(there)
    (there / "log").write_bytes(os.urandom(5 << 20))
    with pytest.raises(SyncError, match="sends more than it has listed"):
        await bring(node, there, here, files)
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
        await bring(node, there, here, files)
    assert all(len(content) < 5000 for content in contents(here).values())


async def test_a_file_that_went_meanwhile_is_passed_over(
    node: FakeNode, here: Path, there: Path
) -> None:
    (there / "a").write_text("a")
    (there / "b").write_text("b")
    files = listed(there)
    (there / "a").unlink()
    assert await bring(node, there, here, files) == ["b"]


async def test_progress_rises_to_the_total(node: FakeNode, here: Path, there: Path) -> None:
    (there / "big").write_bytes(os.urandom(8 << 20))
    told: list[Progress] = []
    await bring(node, there, here, on_progress=told.append)
    assert [each.sent for each in told] == sorted(each.sent for each in told)
    assert told[-1] == Progress("node0", 8 << 20, 8 << 20)
    assert any(0 < each.sent < each.total for each in told)


class _Stop(Exception):
    pass


async def test_an_interrupted_fetch_leaves_nothing_half_there_and_the_next_goes_on(
    node: Node, here: Path, there: Path
) -> None:
    (there / "big").write_bytes(os.urandom(64 << 20))
    came: list[int] = []

    def stop(progress: Progress) -> None:
        if progress.sent > progress.total // 2:
            raise _Stop

    with pytest.raises(_Stop):
        await bring(node, there, here, on_progress=stop)
    assert not (here / "big").exists()
    assert await bring(node, there, here, on_progress=lambda p: came.append(p.sent)) == ["big"]
    assert (here / "big").read_bytes() == (there / "big").read_bytes()
    assert max(came[:-1]) < 40 << 20, "half of it was here"
    assert not (here / ".orch-partial").exists()


async def test_two_fetches_into_one_folder_are_not_at_once(here: Path) -> None:
    with Landing(here), pytest.raises(SyncError, match=r"another fetch into .* is going on"):
        Landing(here).__enter__()
    with Landing(here):
        pass


async def test_no_rsync_on_the_node(node: Node, here: Path, there: Path) -> None:
    (there / "log").write_text("log")
    node.rewrite = lambda script: f"PATH=/nothing {script}"
    with pytest.raises(SyncError) as caught:
        await bring(node, there, here)
    assert "rsync is not installed on the node" in str(caught.value)
    assert "scp" in str(caught.value)


async def test_a_file_that_cannot_be_read_there_keeps_no_other_back(
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


async def test_a_link_that_breaks(node: FakeNode, here: Path, there: Path) -> None:
    (there / "big").write_bytes(os.urandom(16 << 20))

    def cut(progress: Progress) -> None:
        if 0 < progress.sent < progress.total:
            node.drop()

    with pytest.raises(SyncError, match=r"^node0: the connection broke\n.*run it again"):
        await bring(node, there, here, on_progress=cut)
    assert not (here / "big").exists()


async def test_a_node_that_hangs_is_waited_for_so_long_only(
    node: Node, here: Path, there: Path
) -> None:
    (there / "log").write_text("log")
    node.rewrite = lambda script: "exec sleep 60"
    with Landing(here) as landing, pytest.raises(SyncError, match=r"nothing moved for 0\.3 s"):
        await receive(node, str(there), listed(there), landing.arrived, stall_timeout=0.3)


@pytest.mark.lab
async def test_a_disk_that_fills_here_is_told_and_what_came_is_used_by_the_next(
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
            await bring(node, there, here)
        assert str(caught.value).startswith("node0: the disk of this machine that holds ")
        assert "free some space" in str(caught.value)
        assert not (here / "big").exists()
        await run("mount", "-o", "remount,size=64m", disk)
        came: list[int] = []
        await bring(node, there, here, on_progress=lambda p: came.append(p.sent))
        assert (here / "big").read_bytes() == (there / "big").read_bytes()
        assert max(came[:-1], default=0) < 11 << 20
    finally:
        await run("umount", "-l", disk)
