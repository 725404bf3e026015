"""Tests of the transport `openssh` with real OpenSSH, beside `ssh` and the transport `ssh`."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ConnectionLost, NodeError, Unreachable
from orchestrator.inventory import Host
from orchestrator.remote.base import Screen, ShellError
from orchestrator.remote.openssh import mux
from orchestrator.remote.openssh.folder import claimed
from orchestrator.remote.openssh.node import OpensshNode
from orchestrator.remote.openssh.transport import OpensshTransport
from orchestrator.remote.ssh.transport import SshTransport

pytestmark = pytest.mark.lab

MakeHost = Callable[..., Host]
Start = Callable[..., Any]


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the control sockets, which is empty at the end."""
    top = Path(tempfile.mkdtemp(prefix="o", dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(top))
    place = top / f"orch-ssh-{os.geteuid()}"
    yield place
    assert not place.exists() or list(place.iterdir()) == []
    shutil.rmtree(top)


@pytest.fixture
def reachable(
    start_sshd: Start, make_host: MakeHost, home: Path, tmp_path: Path, folder: Path
) -> Callable[..., Host]:
    """Start an sshd with a configuration, and return the host that reaches it.

    ssh reads no configuration from $HOME, so that key and known host come from the inventory.
    """
    known = tmp_path / "known"

    def start(*config: str, **more: Any) -> Host:
        server = start_sshd(*config)
        with known.open("a") as file:
            file.write(server.known_hosts_line())
        given = {"known_hosts": str(known), "identity_file": f"{home}/.ssh/id_ed25519", **more}
        return make_host(port=server.port, **given)

    return start


@asynccontextmanager
async def connected(
    host: Host, transport: OpensshTransport | None = None
) -> AsyncIterator[OpensshNode]:
    async with transport or OpensshTransport() as opened:
        (node,) = await opened.connect_all([host])
        assert isinstance(node, OpensshNode), node
        yield node
        await node.close()


def sockets(folder: Path) -> list[str]:
    return [str(path) for path in folder.iterdir() if path.is_socket()]


def processes_with(text: str) -> list[bytes]:
    """Return the command lines of this machine's processes that contain `text`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_bytes())
    return [command for command in found if text.encode() in command]


def by_ssh(host: Host, command: str, data: bytes = b"") -> tuple[int, bytes, bytes]:
    """Run a command with ssh itself."""
    options = [f"UserKnownHostsFile={host.known_hosts}", "BatchMode=yes"]
    words = [word for option in options for word in ("-o", option)]
    words += ["-i", str(host.identity_file), "-p", str(host.port), host.address, command]
    done = subprocess.run(
        ["ssh", "-F", "none", *words], input=data, capture_output=True, timeout=30
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "script",
    [
        "cat; echo problem >&2; exit 7",
        "exit 255",
        "kill -9 $$",
        "head -c 300000 /dev/zero | tr '\\0' x; cat >/dev/null",
        "exec >&-; sleep 0.2; exit 3",
        "exec <&-; sleep 0.2; echo done",
    ],
)
async def test_run_of_a_script_is_as_with_ssh(reachable: Callable[..., Host], script: str) -> None:
    host, data = reachable(), b"\xff\0\r\n" * 10000
    async with connected(host) as node:
        done = await node.run(script, input=data)
    assert (done.exit_code, done.stdout, done.stderr) == by_ssh(host, script, data)


async def test_sessions_are_refused_beyond_max_sessions(reachable: Callable[..., Host]) -> None:
    async with connected(reachable("MaxSessions 1")) as node:
        channel = await node.open("cat")
        with pytest.raises(NodeError, match="refuses another session") as caught:
            await node.open("cat")
        assert "MaxSessions" in str(caught.value.remedy)
        await channel.write(b"still here\n")
        assert await channel.readline() == b"still here\n"


async def test_shell_that_does_not_run_the_script_is_reported(
    reachable: Callable[..., Host],
) -> None:
    async with connected(reachable("ForceCommand echo locked; exit 4")) as node:
        with pytest.raises(ShellError, match="ended with code 4 instead"):
            await node.open("true")


async def test_killed_master_is_a_lost_connection_and_another_login_works(
    reachable: Callable[..., Host], folder: Path
) -> None:
    host, transport = reachable(), OpensshTransport()
    async with connected(host, transport) as node:
        channel = await node.open("echo up; cat")
        assert await channel.readline() == b"up\n"
        (path,) = sockets(folder)
        master = await mux.find_master(path)
        assert master is not None
        os.kill(master, signal.SIGKILL)
        with pytest.raises(ConnectionLost):
            await channel.read()
        with pytest.raises(ConnectionLost):
            await channel.wait()
        with pytest.raises(ConnectionLost):
            await node.open("true")
        (again,) = await transport.connect_all([host])
        assert isinstance(again, OpensshNode)
        assert (await again.run("echo back")).stdout == b"back\n"
        await again.close()


async def test_master_is_shared_by_transports_and_ended_by_the_last(
    reachable: Callable[..., Host], folder: Path
) -> None:
    host = reachable()
    async with connected(host) as first:
        async with connected(host) as second:
            assert (await second.run("echo two")).stdout == b"two\n"
            assert len(sockets(folder)) == 1
        assert (await first.run("echo one")).stdout == b"one\n"
    assert sockets(folder) == []


async def test_master_that_is_handed_over_serves_the_next_process(
    reachable: Callable[..., Host], folder: Path
) -> None:
    host, transport = reachable(), OpensshTransport()
    async with connected(host, transport):
        transport.hand_over()
    (path,) = sockets(folder)
    master = await mux.find_master(path)
    async with connected(host) as node:
        assert (await node.run("echo on")).stdout == b"on\n"
        assert await mux.find_master(path) == master


async def test_terminal_has_the_size_of_the_screen_and_follows_it(
    reachable: Callable[..., Host],
) -> None:
    async with connected(reachable()) as node:
        screen = Screen("xterm", 97, 31)
        channel = await node.open_terminal("stty size; read x; stty size; exit 9", screen)
        assert await channel.readline() == b"31 97\r\n"
        channel.resize(120, 40)
        size = b""
        while size != b"40 120\r\n":  # it arrives after the master has handled a signal
            await channel.write(b"\r")
            size = await channel.readline()
        assert await channel.wait() == 9
        channel.close()


async def test_server_without_terminals_is_reported(reachable: Callable[..., Host]) -> None:
    async with connected(reachable("PermitTTY no")) as node:
        channel = await node.open_terminal("sleep 1000", Screen("xterm", 97, 31))
        with pytest.raises(NodeError, match="sshd gives no terminal"):
            while await channel.read():
                pass
        channel.close()


async def test_login_of_another_process_is_waited_for_until_the_timeout(
    reachable: Callable[..., Host], folder: Path
) -> None:
    host = reachable()
    async with connected(host):
        (path,) = sockets(folder)
    async with claimed(Path(path)), OpensshTransport(timeout=0.5) as transport:
        (result,) = await transport.connect_all([host])
        assert isinstance(result, Unreachable)
        assert "another process is logging in" in result.message


@pytest.fixture
def agent(
    home: Path, keygen: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """An SSH agent with a key, for ssh looks for keys below the home folder in the password database."""
    place = home / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(place)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()  # it listens
    monkeypatch.setenv("SSH_AUTH_SOCK", str(place))
    key = keygen(home / "key")
    subprocess.run(["ssh-add", "-q", key], check=True)
    yield key
    process.terminate()
    process.communicate()


async def test_gateway_is_logged_in_to_once_for_all_hosts(
    start_sshd: Start, reachable: Callable[..., Host], agent: Path, tmp_path: Path
) -> None:
    gateway = start_sshd("LogLevel VERBOSE")
    shutil.copy(f"{agent}.pub", gateway.folder / "authorized_keys")
    host = reachable(proxy_jump=f"127.0.0.1:{gateway.port}")
    with (tmp_path / "known").open("a") as file:
        file.write(gateway.known_hosts_line())
    hosts = [host.model_copy(update={"name": f"n{i}"}) for i in range(4)]
    async with OpensshTransport() as transport:
        nodes = await transport.connect_all(hosts)
        outputs = [
            (await node.run("echo $SSH_CONNECTION")).stdout
            for node in nodes
            if isinstance(node, OpensshNode)
        ]
    assert len(outputs) == 4, "\n".join(map(str, nodes))
    assert (gateway.folder / "log").read_text().count("Accepted publickey") == 1


def _unknown(host: Host, tmp_path: Path) -> Host:
    (tmp_path / "empty").touch()
    return host.model_copy(update={"known_hosts": str(tmp_path / "empty")})


def _changed(host: Host, tmp_path: Path) -> Host:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True
    )
    kind, key = (tmp_path / "other.pub").read_text().split()[:2]
    (tmp_path / "changed").write_text(f"[127.0.0.1]:{host.port} {kind} {key}\n")
    return host.model_copy(update={"known_hosts": str(tmp_path / "changed")})


def _denied(host: Host, tmp_path: Path) -> Host:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "own")], check=True
    )
    return host.model_copy(update={"identity_file": str(tmp_path / "own")})


def _no_name(host: Host, tmp_path: Path) -> Host:
    return host.model_copy(update={"address": "no-such-host.invalid"})


def _refused(host: Host, tmp_path: Path) -> Host:
    return host.model_copy(update={"port": 1})


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (_unknown, "host-key-unknown"),
        (_changed, "host-key-changed"),
        (_denied, "authentication"),
        (_no_name, "name"),
        (_refused, "refused"),
    ],
)
async def test_verdict_has_the_cause_and_remedy_of_the_transport_ssh(
    reachable: Callable[..., Host], tmp_path: Path, home: Path, change: Any, cause: str
) -> None:
    host = reachable()
    (home / ".ssh" / "id_ed25519").rename(tmp_path / "key")
    host = change(host.model_copy(update={"identity_file": str(tmp_path / "key")}), tmp_path)
    found = []
    for kind in (OpensshTransport, SshTransport):
        async with kind() as transport:
            (result,) = await transport.connect_all([host])
        assert isinstance(result, Unreachable), result
        assert "\n" not in result.message
        found.append((result.cause, result.remedy))
    assert found[0] == found[1]
    assert found[0][0] == cause


async def test_server_that_says_nothing_is_a_protocol_error(
    make_host: MakeHost, home: Path, folder: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = make_host(port=server.getsockname()[1])
        async with OpensshTransport(timeout=1.0) as transport:
            (result,) = await transport.connect_all([host])
    assert isinstance(result, Unreachable)
    assert result.cause == "protocol"


async def test_cancelled_login_leaves_no_process(
    make_host: MakeHost, home: Path, folder: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = make_host(port=server.getsockname()[1])
        server.setblocking(False)
        async with OpensshTransport() as transport:
            login = asyncio.create_task(transport.connect_all([host]))
            arrived, _ = await asyncio.get_running_loop().sock_accept(server)
            login.cancel()
            with pytest.raises(asyncio.CancelledError):
                await login
            arrived.close()
    assert processes_with(str(folder)) == []


def start_master(host: Host, path: str) -> None:
    options = [f"UserKnownHostsFile={host.known_hosts}", "ControlPersist=yes"]
    words = [word for option in options for word in ("-o", option)]
    words += ["-i", str(host.identity_file), "-p", str(host.port), host.address]
    subprocess.run(["ssh", "-F", "none", "-fNMS", path, *words], check=True, timeout=30)


async def test_live_master_of_the_user_is_used_and_stays(
    reachable: Callable[..., Host], home: Path, tmp_path: Path
) -> None:
    host = reachable()
    path = str(tmp_path / "m")
    start_master(host, path)
    (home / ".ssh" / "config").write_text(f"ControlPath {path}\n")
    (home / ".ssh" / "id_ed25519").unlink()  # another login would be refused
    master = await mux.find_master(path)
    try:
        for kind in (OpensshTransport, SshTransport):
            async with kind() as transport:
                (node,) = await transport.connect_all([host])
                assert isinstance(node, OpensshNode), node
                assert (await node.run("echo over it")).stdout == b"over it\n"
                assert (kind is SshTransport) == ("ControlPath" in " ".join(node.warnings))
                await node.close()
        assert await mux.find_master(path) == master
    finally:
        await mux.end_master(path)


async def test_setting_that_only_openssh_has_hands_the_host_over(
    reachable: Callable[..., Host], home: Path
) -> None:
    host = reachable()
    (home / ".ssh" / "config").write_text("KnownHostsCommand /bin/true\n")
    async with SshTransport() as transport:
        (node,) = await transport.connect_all([host])
        assert isinstance(node, OpensshNode), node
        assert (await node.run("echo over it")).stdout == b"over it\n"
        (warning,) = node.warnings
        assert "KnownHostsCommand" in warning
        await node.close()
