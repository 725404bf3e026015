"""The channels of the embedded cluster behave like those of sshd, also when they end."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest

from orchestrator.errors import ConnectionLost, NodeError, Unreachable
from orchestrator.remote.embedded.cluster import LocalCluster
from orchestrator.remote.ssh.connect import ConnectOptions, SshNode, Trust, connect_all


@pytest.fixture
async def cluster(tmp_path: Path, home: Path) -> AsyncIterator[LocalCluster]:
    # The user's configuration for `Host *` must not apply to the cluster.
    (home / ".ssh" / "config").write_text("Host *\n ProxyJump nowhere.invalid\n")
    async with LocalCluster(2, tmp_path / "root") as cluster:
        yield cluster


@pytest.fixture
async def node(cluster: LocalCluster) -> AsyncIterator[SshNode]:
    nodes = [
        result
        for result in await connect_all(cluster.hosts, cluster.options)
        if isinstance(result, SshNode)
    ]
    assert len(nodes) == 2
    yield nodes[0]
    for one in nodes:
        await one.close()


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def halted_at(counter: Path) -> int:
    """Wait until the number in a file stops changing; return it."""
    last, still, deadline = "", 0, time.monotonic() + 20
    while still < 10 and time.monotonic() < deadline:
        time.sleep(0.02)
        now = counter.read_text() if counter.exists() else ""
        still = still + 1 if now == last and now else 0
        last = now
    return int(last)


def gone(pid: int) -> bool:
    """Wait for a process to end; return whether it did."""
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not alive(pid)


async def test_cluster_gives_each_node_a_name_and_a_workdir(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    assert [host.name for host in cluster.hosts] == ["local0", "local1"]
    assert cluster.hosts[1].workdir == f"{tmp_path}/root/local1/work"
    assert (tmp_path / "root" / "local1" / "work") in list((tmp_path / "root").glob("*/work"))
    assert cluster.hosts[0].python == sys.executable


async def test_run_returns_exit_code_and_bytes_of_both_streams(node: SshNode) -> None:
    every = bytes(range(256)) * 100
    result = await node.run("cat; cat /dev/null; printf '\\377\\n' >&2; exit 7", input=every)
    assert (result.exit_code, result.stdout, result.stderr) == (7, every, b"\xff\n")


async def test_exit_code_after_a_signal_is_128_plus_its_number(node: SshNode) -> None:
    assert (await node.run("kill -9 $$")).exit_code == 137
    assert (await node.run("kill -TERM $$")).exit_code == 143


async def test_command_starts_in_the_home_folder(node: SshNode, home: Path) -> None:
    assert (await node.run("pwd")).stdout == f"{home}\n".encode()


async def test_output_after_end_of_input_is_received(node: SshNode) -> None:
    channel = await node.open("cat; echo done")
    await channel.write(b"one\n")
    assert await channel.readline() == b"one\n"
    channel.write_eof()
    assert await channel.readexactly(5) == b"done\n"
    assert await channel.read() == b""
    assert await channel.wait() == 0


async def test_exit_code_is_available_before_output_is_read(node: SshNode) -> None:
    channel = await node.open("echo hello; exit 3")
    async with asyncio.timeout(10):
        assert await channel.wait() == 3
    assert await channel.read() == b"hello\n"


async def test_write_to_a_command_that_does_not_read_is_dropped(node: SshNode) -> None:
    result = await node.run("exec <&-; exit 5", input=b"x" * 8_000_000)
    assert result.exit_code == 5


async def test_readexactly_with_too_few_bytes_raises_incomplete_read(node: SshNode) -> None:
    channel = await node.open("printf abc")
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        await channel.readexactly(4)
    assert caught.value.partial == b"abc"


async def test_readline_without_newline_fails_at_the_limit(node: SshNode) -> None:
    channel = await node.open("head -c 50000000 /dev/zero")
    with pytest.raises(NodeError, match="longer than"):
        await channel.readline()
    channel.close()


async def test_stderr_keeps_only_its_end(node: SshNode) -> None:
    result = await node.run("head -c 1000000 /dev/zero >&2; printf end >&2")
    assert len(result.stderr) == 65536
    assert result.stderr.endswith(b"\0end")


async def test_input_of_64_mb_arrives_complete(node: SshNode) -> None:
    channel = await node.open("wc -c")
    piece = b"x" * (1 << 20)
    for _ in range(64):
        await channel.write(piece)
    channel.write_eof()
    assert int(await channel.readline()) == 64 << 20


async def test_paused_reader_pauses_the_command_and_bounds_memory(
    node: SshNode, tmp_path: Path
) -> None:
    progress = tmp_path / "progress"
    channel = await node.open(
        f"i=0; while [ $i -lt 200 ]; do head -c 1000000 /dev/zero; i=$((i+1)); echo $i > {progress};"
        " done"
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert await channel.readexactly(1) == b"\0"
    assert await asyncio.to_thread(halted_at, progress) < 40
    total = 1
    while data := await channel.read():
        total += len(data)
    assert total == 200_000_000
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 64 * 1024  # KiB


async def test_run_of_a_slow_command_times_out(node: SshNode) -> None:
    begun = time.monotonic()
    with pytest.raises(NodeError, match=r"0\.3 s"):
        await node.run("sleep 60", timeout=0.3)
    assert time.monotonic() - begun < 5


async def test_closed_channel_closes_the_pipes_of_the_command(node: SshNode) -> None:
    channel = await node.open("echo $$; exec cat")
    pid = int(await channel.readline())
    channel.close()
    assert await asyncio.to_thread(gone, pid)


async def test_closed_cluster_ends_its_commands_except_detached_ones(
    tmp_path: Path, home: Path
) -> None:
    async with LocalCluster(1, tmp_path) as cluster:
        (node,) = await connect_all(cluster.hosts, cluster.options)
        assert isinstance(node, SshNode)
        channel = await node.open(
            "setsid sh -c 'echo $$; exec sleep 60 >/dev/null' & wait_for=$!; echo $$; exec sleep 60"
        )
        first, second = int(await channel.readline()), int(await channel.readline())
    with pytest.raises(ConnectionLost):
        await channel.wait()
    with pytest.raises(ConnectionLost):
        await channel.read()
    with pytest.raises(ConnectionLost):
        await node.open("true")
    await node.close()
    sessions = {pid: alive(pid) for pid in (first, second)}
    detached = [pid for pid, living in sessions.items() if living]
    assert len(detached) == 1
    os.kill(detached[0], 9)


async def test_login_with_another_key_is_refused(cluster: LocalCluster) -> None:
    trust = cluster.options.trust
    assert trust is not None
    stranger = ConnectOptions(
        trust=Trust(asyncssh.generate_private_key("ssh-ed25519"), trust.host_key)
    )
    (result, *_) = await connect_all(cluster.hosts[:1], stranger)
    assert isinstance(result, Unreachable)
    assert result.cause == "authentication"


async def test_connection_with_another_host_key_is_refused(cluster: LocalCluster) -> None:
    trust = cluster.options.trust
    assert trust is not None
    impostor = ConnectOptions(
        trust=Trust(trust.client_key, asyncssh.generate_private_key("ssh-ed25519"))
    )
    (result, *_) = await connect_all(cluster.hosts[:1], impostor)
    assert isinstance(result, Unreachable)
    assert result.cause == "host-key-unknown"


async def test_request_other_than_a_command_is_refused(cluster: LocalCluster) -> None:
    trust = cluster.options.trust
    assert trust is not None
    async with asyncssh.connect(
        "127.0.0.1",
        cluster.hosts[0].port or 0,
        config=None,
        known_hosts=([trust.host_key.convert_to_public()], [], []),
        client_keys=[trust.client_key],
    ) as connection:
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.start_sftp_client()
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_connection("127.0.0.1", 22)
        with pytest.raises(asyncssh.ChannelListenError):
            await connection.forward_remote_port("127.0.0.1", 0, "127.0.0.1", 22)
