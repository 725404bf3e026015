"""Each way that connecting to a machine can fail has its own verdict, in bounded time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncssh
import pytest

from orchestrator.errors import Unreachable, UsageError
from orchestrator.inventory import Host
from orchestrator.remote.ssh.connect import ConnectOptions, connect_all

MakeHost = Callable[..., Host]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
QUICK = ConnectOptions(timeout=0.5)


@contextlib.asynccontextmanager
async def serve(handler: Handler) -> AsyncIterator[int]:
    """Serve on a loopback port; close every connection at the end."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError):
                await handler(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def verdict(host: Host, options: ConnectOptions = QUICK) -> Unreachable:
    begun = time.monotonic()
    (result,) = await connect_all([host], options)
    assert isinstance(result, Unreachable)
    assert time.monotonic() - begun < (options.timeout or 10) + 2
    assert result.remedy
    assert "\n" not in result.message
    assert "\x1b" not in result.message
    return result


async def test_connect_to_a_closed_port_is_refused(home: Path, make_host: MakeHost) -> None:
    with socket.socket() as sock:  # bound, not listening
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        result = await verdict(make_host(port=port))
    assert result.cause == "refused"
    assert f"127.0.0.1 port {port}" in result.message


async def test_connect_to_an_unresolvable_name_is_a_verdict(
    home: Path, make_host: MakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    result = await verdict(make_host(address="nowhere"))
    assert result.cause == "name"
    assert "nowhere" in result.message


async def test_connect_with_a_hanging_resolver_times_out_without_delaying_others(
    home: Path, make_host: MakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    real = socket.getaddrinfo

    def hang(host: str, *rest: object) -> object:
        if host.startswith("slow"):
            release.wait(20)
        return real("127.0.0.1", *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    hosts = [make_host(f"n{i}", f"slow{i}") for i in range(20)] + [make_host("fast", "fast", 1)]
    when: dict[str, float] = {}
    try:
        results = await connect_all(
            hosts, QUICK, on_result=lambda name, result, seconds: when.update({name: seconds})
        )
    finally:
        release.set()
    causes = [result.cause for result in results if isinstance(result, Unreachable)]
    assert causes == ["timed-out"] * 20 + ["refused"]
    assert max(when.values()) < 2
    assert when["fast"] < 0.5


async def test_connect_to_a_silent_machine_times_out(home: Path, make_host: MakeHost) -> None:
    with socket.socket() as full:  # its backlog is full, so it drops the next connection
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        result = await verdict(make_host(port=port))
        for filler in fillers:
            filler.close()
    assert result.cause == "timed-out"
    assert "0.5 s" in result.message


async def test_connect_to_a_silent_server_is_not_ssh(home: Path, make_host: MakeHost) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serve(silent) as port:
        result = await verdict(make_host(port=port))
    assert result.cause == "protocol"
    assert "says nothing" in result.message


async def test_connect_to_a_slow_server_times_out(home: Path, make_host: MakeHost) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with serve(drip) as port:
        result = await verdict(make_host(port=port))
    assert result.cause == "protocol"


@pytest.mark.parametrize(
    "greeting",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-1.5-old\r\n",
        b"\x1b[31m\x00\xff" * 5000,
        b"SSH-2.0-x\r\n" + b"\xff" * 4000,
        b"SSH-2.0-x\r\n" + b"\x00\x00\x00\x0c\x0a\x14" + b"\x00" * 100,
    ],
)
async def test_connect_to_a_server_that_sends_garbage_is_not_ssh(
    home: Path, make_host: MakeHost, greeting: bytes
) -> None:
    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await writer.drain()

    async with serve(garbage) as port:
        result = await verdict(make_host(port=port))
    assert result.cause == "protocol"
    assert len(result.message) < 500


async def test_connect_to_a_server_that_closes_at_once_is_a_verdict(
    home: Path, make_host: MakeHost
) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pass

    async with serve(hang_up) as port:
        result = await verdict(make_host(port=port))
    assert result.cause == "protocol"
    assert "MaxStartups" in result.remedy


async def test_verdicts_are_returned_in_host_order_and_reported_as_they_come(
    home: Path, make_host: MakeHost
) -> None:
    reported: list[str] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serve(silent) as port:
        hosts = [make_host("slow", port=port), make_host("quick", port=1)]
        results = await connect_all(
            hosts, QUICK, on_result=lambda name, result, seconds: reported.append(name)
        )
    assert [result.node for result in results if isinstance(result, Unreachable)] == [
        "slow",
        "quick",
    ]
    assert reported == ["quick", "slow"]


async def test_connect_with_an_invalid_ssh_config_raises_usage_error(
    home: Path, make_host: MakeHost
) -> None:
    (home / ".ssh" / "config").write_text("Host *\n Port many\n")
    with pytest.raises(UsageError, match=r"config:2: port many is not a number"):
        await connect_all([make_host()])


async def test_connect_with_unreadable_known_hosts_is_a_verdict(
    home: Path, tmp_path: Path, make_host: MakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.remote.ssh.host_keys._READ_TIMEOUT", 0.05)
    os.mkfifo(tmp_path / "pipe")

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serve(silent) as port:
        for file, message in ((tmp_path / "pipe", "nothing came"), (tmp_path, "it is a folder")):
            result = await verdict(make_host(port=port, known_hosts=str(file)))
            assert result.cause == "host-key-unknown"
            assert f"known_hosts file {file}: {message}" in result.message


async def test_connect_with_a_cycle_of_gateways_is_a_verdict(
    home: Path, make_host: MakeHost
) -> None:
    (home / ".ssh" / "config").write_text("Host a\n ProxyJump b\nHost b\n ProxyJump a\n")
    result = await verdict(make_host(address="node", proxy_jump="a"))
    assert result.cause == "gateway"
    assert "circle" in result.message


async def test_failing_gateway_is_tried_once_for_all_nodes_behind_it(
    home: Path, make_host: MakeHost
) -> None:
    visits = 0

    async def too_old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal visits
        visits += 1
        writer.write(b"SSH-1.3-ancient\r\n")

    async with serve(too_old) as port:
        hosts = [make_host(f"n{i}", proxy_jump=f"127.0.0.1:{port}") for i in range(5)]
        results = await connect_all(hosts, QUICK)
    assert visits == 1
    assert all(isinstance(r, Unreachable) and r.cause == "gateway" for r in results)
    assert all(f"port {port}" in str(r) for r in results)


async def test_connection_closed_before_the_banner_is_retried(
    home: Path, make_host: MakeHost
) -> None:
    visits = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal visits
        visits += 1

    async with serve(hang_up) as port:
        result = await connect_all([make_host(port=port)], ConnectOptions(timeout=20))
    assert visits == 4
    assert isinstance(result[0], Unreachable)
    assert "before any SSH greeting" in result[0].message


async def test_cancelled_connect_leaves_no_connection(home: Path, make_host: MakeHost) -> None:
    closed = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        closed.set()

    async with serve(silent) as port:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await connect_all([make_host(port=port)])
        async with asyncio.timeout(5):
            await closed.wait()


async def test_server_that_the_test_trusts_is_not_trusted_by_default(
    home: Path, make_host: MakeHost
) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.listen("127.0.0.1", 0, server_host_keys=[key], config=None)
    result = await verdict(make_host(port=server.get_port()))
    server.close()
    await server.wait_closed()
    assert result.cause == "host-key-unknown"
    assert key.get_fingerprint() in result.message
    assert "--accept-new" in result.remedy
    assert not (home / ".ssh" / "known_hosts").exists()


async def test_folder_in_home_that_ssh_does_not_read_is_named_beside_a_failure(
    home: Path, make_host: Callable[..., Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    (other / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(other))
    (result,) = await connect_all([make_host(port=1)])
    assert isinstance(result, Unreachable)
    assert f"ssh and orch read {home}/.ssh, not {other}/.ssh" in result.message
