"""What can go wrong with a push, and the errors for it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.errors import SyncError
from orchestrator.remote.process import ProcessChannel
from orchestrator.sync import Progress, Pushed, Tree, client, collect, push
from tests.remote.fake import FakeNode

Processes = Callable[[], list[int]]


class RewritingNode(FakeNode):
    rewrite: Callable[[str], str]
    channel: ProcessChannel


@pytest.fixture(autouse=True)
def report_every_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.sync.relay._PROGRESS_INTERVAL", 0)


@pytest.fixture
def big(here: Path) -> Tree:
    """A tree large enough that a push is under way when it reports progress."""
    with (here / "big.bin").open("wb") as file:  # no zeros: they would take no space on the disk
        for _ in range(512):
            file.write(b"\x01" * (1 << 20))
    return collect(here)


@pytest.fixture
def small(here: Path) -> Tree:
    (here / "train.py").write_text("x")
    return collect(here)


async def nothing_left(processes: Processes) -> bool:
    """Tell whether all processes end within a second: those that were cut off end by themselves."""
    for _ in range(100):
        if not processes():
            return True
        await asyncio.sleep(0.01)
    return False


def descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


async def failure(node: FakeNode, tree: Tree, there: Path, *, stall_timeout: float = 60.0) -> str:
    with pytest.raises(SyncError) as caught:
        await push(node, tree, str(there), stall_timeout=stall_timeout)
    assert caught.value.remedy
    return str(caught.value)


async def test_missing_rsync_on_the_node_is_reported(
    node: RewritingNode, small: Tree, there: Path
) -> None:
    node.rewrite = lambda script: f"PATH=/nowhere; {script}"
    message = await failure(node, small, there)
    assert message.startswith("node0: rsync is not installed on the node\n")
    assert "apt-get install rsync" in message
    assert "--no-sync" in message
    assert "unexpectedly closed" not in message


async def test_node_that_does_not_speak_rsync_is_reported(
    node: RewritingNode, small: Tree, there: Path
) -> None:
    node.rewrite = lambda script: "echo Welcome to node0, have fun; exec cat"
    message = await failure(node, small, there)
    assert "node0: what answers on the node does not speak rsync's protocol" in message


async def test_old_rsync_on_the_node_is_reported(
    node: RewritingNode, small: Tree, there: Path
) -> None:
    node.rewrite = lambda script: "echo 'rsync: -s: unknown option' >&2; exit 1"
    assert "node0: the node's rsync is too old" in await failure(node, small, there)


async def test_control_characters_from_the_node_are_removed(
    node: RewritingNode, small: Tree, there: Path
) -> None:
    node.rewrite = lambda script: r"printf 'evil \033[2J \007 \302\233 %s\n' 1 2 3 4 5 >&2; exit 3"
    message = await failure(node, small, there)
    assert all(char.isprintable() or char == "\n" for char in message)
    assert message.count("evil") <= 3


@pytest.fixture
def locked(node: RewritingNode) -> Iterator[Path]:
    """Yield a folder that the user of the node may not write (root may write anywhere)."""
    folder = Path(tempfile.mkdtemp())
    if os.geteuid() == 0:
        folder.chmod(0o755)
        drop = "exec setpriv --reuid=65534 --regid=65534 --clear-groups "
        node.rewrite = lambda script: script.replace("exec ", drop, 1)
    else:
        folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


async def test_folder_without_write_permission_is_reported(
    node: RewritingNode, small: Tree, locked: Path
) -> None:
    message = await failure(node, small, locked)
    assert message.startswith(f"node0: {locked} on the node cannot be written\n")
    assert f"ls -ld {locked}" in message


async def test_missing_parent_folder_is_reported(node: FakeNode, small: Tree, there: Path) -> None:
    message = await failure(node, small, there / "no/folder")
    assert f"node0: {there}/no/folder cannot be created on the node" in message


async def test_missing_source_folder_is_reported(node: FakeNode, small: Tree, there: Path) -> None:
    shutil.rmtree(small.root)
    assert "node0: the folder to send is gone" in await failure(node, small, there)


async def test_folder_in_the_way_of_a_file_is_reported(
    node: FakeNode, small: Tree, there: Path
) -> None:
    (there / "train.py").mkdir()
    (there / "train.py/kept").write_text("x")
    message = await failure(node, small, there)
    assert f"node0: a folder below {there} is in the way of a file with its name" in message
    assert (there / "train.py/kept").exists()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.fixture
def read_only_disk(tiny_disk: Path) -> Path:
    subprocess.run(["mount", "-o", "remount,ro", tiny_disk], check=True)
    return tiny_disk


@pytest.mark.lab
async def test_full_disk_is_reported(node: FakeNode, big: Tree, tiny_disk: Path) -> None:
    message = await failure(node, big, tiny_disk)
    assert message.startswith(f"node0: the disk of the node that holds {tiny_disk} is full\n")
    assert f"df -h {tiny_disk}" in message


@pytest.mark.lab
async def test_read_only_disk_is_reported(
    node: FakeNode, small: Tree, read_only_disk: Path
) -> None:
    message = await failure(node, small, read_only_disk)
    assert message.startswith(f"node0: {read_only_disk} is on a read-only file system\n")


async def test_unreadable_file_is_reported(
    node: FakeNode, here: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root can read everything, so a fake rsync reports the error.
    fake = here.parent / "rsync"
    fake.write_text(
        "#!/bin/sh\n"
        "echo 'rsync: [sender] send_files failed to open \"/x/key\": Permission denied (13)' >&2\n"
        "exit 23\n"
    )
    (here.parent / "rsync").chmod(0o755)
    local = client.Rsync(str(fake), (3, 2, 7))
    monkeypatch.setattr("orchestrator.sync.client.local_rsync", lambda: local)
    (here / "x").write_text("x")
    message = await failure(node, collect(here), there)
    assert message.startswith("node0: a file on this machine cannot be read\n")
    assert '"/x/key"' in message


async def test_rsync_killed_on_this_machine_is_reported(
    node: FakeNode, big: Tree, there: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = asyncio.create_subprocess_exec
    started: list[asyncio.subprocess.Process] = []

    async def remember(*args: str, **options: object) -> asyncio.subprocess.Process:
        started.append(await real(*args, **options))  # type: ignore[arg-type]
        return started[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", remember)

    def kill(progress: Progress) -> None:
        if 0 < progress.sent < progress.total and started:
            started.pop(0).kill()

    with pytest.raises(SyncError, match=r"node0: rsync on this machine was killed by SIGKILL\n"):
        await push(node, big, str(there), on_progress=kill)
    assert await nothing_left(processes)
    assert not (there / "big.bin").exists()


async def test_rsync_killed_on_the_node_is_reported(
    node: RewritingNode, big: Tree, there: Path, processes: Processes
) -> None:
    # The shell of the script stays, and reports the signal as sshd would.
    node.rewrite = lambda script: f"{script.removeprefix('exec ')}; exit $?"
    killed: list[int] = []

    def kill(progress: Progress) -> None:
        # Once: bytes still move after that, and the shell may be gone by then.
        if 0 < progress.sent < progress.total and not killed:
            shell = node.channel.pid
            children = Path(f"/proc/{shell}/task/{shell}/children").read_text()
            killed.extend(map(int, children.split()))
            for child in killed:
                os.kill(child, signal.SIGKILL)

    with pytest.raises(SyncError) as caught:
        await push(node, big, str(there), on_progress=kill)
    assert "node0: rsync on the node was killed by SIGKILL, perhaps for lack of memory" in str(
        caught.value
    )
    assert await nothing_left(processes)


async def test_broken_connection_is_reported(
    node: FakeNode, big: Tree, there: Path, processes: Processes
) -> None:
    def cut(progress: Progress) -> None:
        if 0 < progress.sent < progress.total:
            node.drop()

    with pytest.raises(SyncError, match=r"^node0: the connection broke\n.*run it again"):
        await push(node, big, str(there), on_progress=cut)
    assert await nothing_left(processes)


async def test_lost_node_is_reported(node: FakeNode, small: Tree, there: Path) -> None:
    node.drop()
    assert (await failure(node, small, there)).startswith("node0: the connection broke\n")


async def test_interrupted_push_is_resumed(node: RewritingNode, here: Path, there: Path) -> None:
    (here / "big.bin").write_bytes(os.urandom(1 << 20) * 256)
    tree = collect(here)
    stopped: list[int] = []

    def stop(progress: Progress) -> None:
        if progress.sent > progress.total // 2 and not stopped:
            stopped.append(node.channel.pid)
            os.killpg(stopped[0], signal.SIGTERM)

    with pytest.raises(SyncError):
        await push(node, tree, str(there), on_progress=stop)
    assert not (there / "big.bin").exists()
    pushed = await push(node, tree, str(there))
    assert pushed.sent < tree.size * 3 // 4
    assert (there / "big.bin").read_bytes() == (here / "big.bin").read_bytes()
    assert not (there / ".orch-partial").exists()


async def test_node_that_never_answers_times_out(
    node: RewritingNode, small: Tree, there: Path, processes: Processes
) -> None:
    node.rewrite = lambda script: "exec sleep 60"
    message = await failure(node, small, there, stall_timeout=0.3)
    assert message.startswith("node0: no data for 0.3 s")
    assert await nothing_left(processes)


async def test_node_that_stops_reading_times_out(
    node: RewritingNode, big: Tree, there: Path, processes: Processes
) -> None:
    def freeze(progress: Progress) -> None:
        if 0 < progress.sent < progress.total:
            os.killpg(node.channel.pid, signal.SIGSTOP)

    with pytest.raises(SyncError, match=r"node0: no data for 0\.5 s"):
        await push(node, big, str(there), on_progress=freeze, stall_timeout=0.5)
    assert await nothing_left(processes)


async def test_slow_push_does_not_time_out(
    node: FakeNode, here: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ProcessChannel.write

    async def write(self: ProcessChannel, data: bytes) -> None:
        await asyncio.sleep(0.1)
        await real(self, data)

    monkeypatch.setattr(ProcessChannel, "write", write)
    (here / "x").write_bytes(os.urandom(3 << 20))
    pushed = await push(node, collect(here), str(there), stall_timeout=0.6)
    assert pushed.seconds > 0.6


async def test_cancelled_push_leaves_no_process_and_no_descriptor(
    node: FakeNode, big: Tree, there: Path, processes: Processes
) -> None:
    under_way = asyncio.Event()
    before = descriptors()

    def note(progress: Progress) -> None:
        if progress.sent:
            under_way.set()

    task = asyncio.create_task(push(node, big, str(there), on_progress=note))
    await asyncio.wait_for(under_way.wait(), 10)
    assert processes()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await nothing_left(processes)
    await node.close()
    assert descriptors() == before


async def test_finished_push_leaves_no_process_and_no_descriptor(
    node: FakeNode, small: Tree, there: Path, processes: Processes
) -> None:
    before = descriptors()
    assert isinstance(await push(node, small, str(there)), Pushed)
    assert await nothing_left(processes)
    await node.close()
    assert descriptors() == before


@pytest.fixture
def rsync_that_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], None]]:
    """Put an `rsync` that answers `--version` with the given line first in PATH."""

    def put(line: str) -> None:
        (tmp_path / "rsync").write_text(f"#!/bin/sh\necho '{line}'\n")
        (tmp_path / "rsync").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        client.local_rsync.cache_clear()

    yield put
    client.local_rsync.cache_clear()


@pytest.mark.parametrize(
    "line",
    [
        "rsync  version 2.6.9  protocol version 29",
        "openrsync: protocol version 29",
        "rsync  version 3.1.2  protocol version 31",
        "who?",
    ],
)
async def test_local_rsync_that_is_too_old_is_refused(
    node: FakeNode, small: Tree, there: Path, rsync_that_says: Callable[[str], None], line: str
) -> None:
    rsync_that_says(line)
    message = await failure(node, small, there)
    assert "needs rsync 3.1.3 or later" in message
    assert "brew install rsync" in message
    assert node.scripts == []


@pytest.mark.parametrize("line", ["rsync  version 3.1.3  protocol", "rsync  version v3.2.7dev  p"])
def test_local_rsync_that_is_new_enough_is_used(
    rsync_that_says: Callable[[str], None], tmp_path: Path, line: str
) -> None:
    rsync_that_says(line)
    assert client.local_rsync().path == str(tmp_path / "rsync")


async def test_missing_local_rsync_is_reported(
    node: FakeNode,
    small: Tree,
    there: Path,
    rsync_that_says: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rsync_that_says("")
    monkeypatch.setenv("PATH", "/nowhere")
    message = await failure(node, small, there)
    assert message.startswith("rsync is not installed on this machine\n")
    assert "--no-sync" in message
