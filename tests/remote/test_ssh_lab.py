"""Tests with real OpenSSH: host keys, client keys, agents, gateways, shells."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ConnectionLost, NodeError, Unreachable
from orchestrator.inventory import Host
from orchestrator.remote.base import ShellError
from orchestrator.remote.ssh.connect import ConnectOptions, SshNode, connect_all

pytestmark = pytest.mark.lab

MakeHost = Callable[..., Host]
Start = Callable[..., Any]
ACCEPT = ConnectOptions(accept_new=True)


def tool(*argv: str | Path) -> str:
    """Run one of OpenSSH's programs; return its output."""
    command = [str(word) for word in argv]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


async def reach(host: Host, options: ConnectOptions | None = None) -> SshNode | Unreachable:
    (result,) = await connect_all([host], options)
    assert isinstance(result, SshNode | Unreachable)
    return result


async def works(host: Host, options: ConnectOptions | None = None) -> bool:
    """Connect, run a command and disconnect. Raises the verdict if connecting fails."""
    node = await reach(host, options)
    assert isinstance(node, SshNode), node
    result = await node.run("cat; exit 9", input=b"\xff\0")
    await node.close()
    return (result.exit_code, result.stdout) == (9, b"\xff\0")


async def refusal(host: Host, options: ConnectOptions | None = None) -> Unreachable:
    result = await reach(host, options)
    assert isinstance(result, Unreachable)
    assert "\n" not in result.message
    return result


# Host keys.


async def test_known_host_is_accepted(trusted_sshd: Start, make_host: MakeHost) -> None:
    assert await works(make_host(port=trusted_sshd().port))


async def test_unknown_host_is_refused_with_its_fingerprint(
    start_sshd: Start, make_host: MakeHost, home: Path
) -> None:
    server = start_sshd()
    result = await refusal(make_host(port=server.port))
    shown = tool("ssh-keygen", "-l", "-f", f"{server.host_keys[0]}.pub").split()[1]
    assert result.cause == "host-key-unknown"
    assert shown in result.message
    assert f"ssh -p {server.port}" in result.remedy
    assert not (home / ".ssh" / "known_hosts").exists()


@pytest.mark.parametrize("hashed", ["yes", "no"])
async def test_new_host_with_accept_new_is_stored_as_ssh_reads_it(
    start_sshd: Start, make_host: MakeHost, home: Path, hashed: str
) -> None:
    (home / ".ssh" / "config").write_text(f"HashKnownHosts {hashed}\n")
    ports = [start_sshd().port for _ in range(3)]
    hosts = [make_host(f"n{i}", port=ports[i % 3]) for i in range(9)]
    nodes = await connect_all(hosts, ACCEPT)
    for node in nodes:
        assert isinstance(node, SshNode), node
        await node.close()
    text = (home / ".ssh" / "known_hosts").read_text()
    assert len(text.splitlines()) == 3
    assert ("127.0.0.1" in text) is (hashed == "no")
    assert await works(hosts[0])
    known, key = f"UserKnownHostsFile={home}/.ssh/known_hosts", f"{home}/.ssh/id_ed25519"
    options = ("-F", "none", "-o", known, "-o", "BatchMode=yes", "-i", key, "-p", str(ports[0]))
    assert tool("ssh", *options, "127.0.0.1", "echo in") == "in\n"


async def test_changed_key_with_accept_new_is_refused(
    start_sshd: Start, make_host: MakeHost, home: Path, tmp_path: Path, keygen: Callable[..., Path]
) -> None:
    server = start_sshd()
    old = keygen(tmp_path / "old")
    known = home / ".ssh" / "known_hosts"
    known.write_text("# first line\n" + server.known_hosts_line(old))
    before = known.read_text()
    result = await refusal(make_host(port=server.port), ACCEPT)
    assert result.cause == "host-key-changed"
    assert f"{known}:2" in result.message
    assert result.message.count("SHA256:") == 2
    assert "ssh-keygen" in result.remedy
    assert f"-R '[127.0.0.1]:{server.port}'" in result.remedy
    assert known.read_text() == before


async def test_host_known_by_one_key_type_is_asked_for_that_type(
    start_sshd: Start, make_host: MakeHost, home: Path
) -> None:
    server = start_sshd(kinds=("ed25519", "rsa", "ecdsa"))
    for key in server.host_keys:
        (home / ".ssh" / "known_hosts").write_text(server.known_hosts_line(key))
        assert await works(make_host(port=server.port))


async def test_host_without_its_known_key_type_has_changed(
    start_sshd: Start, make_host: MakeHost, home: Path, tmp_path: Path, keygen: Callable[..., Path]
) -> None:
    server = start_sshd()
    line = server.known_hosts_line(keygen(tmp_path / "rsa", "rsa"))
    (home / ".ssh" / "known_hosts").write_text(line)
    assert (await refusal(make_host(port=server.port), ACCEPT)).cause == "host-key-changed"


async def test_key_in_the_inventory_file_or_hashed_is_accepted(
    start_sshd: Start, make_host: MakeHost, tmp_path: Path
) -> None:
    server = start_sshd()
    extra = tmp_path / "extra"
    extra.write_text(server.known_hosts_line())
    tool("ssh-keygen", "-q", "-H", "-f", extra)
    assert await works(make_host(port=server.port, known_hosts=str(extra)))


@pytest.fixture
def certified(
    start_sshd: Start, tmp_path: Path, keygen: Callable[..., Path]
) -> Callable[[str], tuple[Any, str]]:
    """Start an sshd with a host certificate for a principal; return it and the authority."""

    def start(principal: str) -> tuple[Any, str]:
        authority = keygen(tmp_path / f"ca-{principal}")
        server = start_sshd("HostCertificate FOLDER/host_ed25519-cert.pub")
        public = f"{server.host_keys[0]}.pub"
        tool("ssh-keygen", "-q", "-s", authority, "-h", "-I", "x", "-n", principal, public)
        server.process.terminate()
        server.process.wait(10)
        again = start_sshd(
            f"HostKey {server.host_keys[0]}",
            f"HostCertificate {server.host_keys[0]}-cert.pub",
            kinds=(),
        )
        again.host_keys.append(server.host_keys[0])
        return again, Path(f"{authority}.pub").read_text()

    return start


async def test_certificate_of_a_trusted_authority_is_accepted(
    certified: Callable[[str], tuple[Any, str]], make_host: MakeHost, home: Path
) -> None:
    server, authority = certified("127.0.0.1")
    (home / ".ssh" / "known_hosts").write_text(f"@cert-authority [127.0.0.*]:* {authority}")
    assert await works(make_host(port=server.port))


async def test_certificate_for_another_host_is_refused(
    certified: Callable[[str], tuple[Any, str]], make_host: MakeHost, home: Path
) -> None:
    server, authority = certified("elsewhere")
    (home / ".ssh" / "known_hosts").write_text(f"@cert-authority * {authority}")
    result = await refusal(make_host(port=server.port), ACCEPT)
    assert result.cause == "host-key-unknown"
    assert "certificate" in result.message


async def test_certificate_of_another_authority_is_refused(
    certified: Callable[[str], tuple[Any, str]],
    make_host: MakeHost,
    home: Path,
    tmp_path: Path,
    keygen: Callable[..., Path],
) -> None:
    server, _ = certified("127.0.0.1")
    other = tool("ssh-keygen", "-y", "-f", keygen(tmp_path / "other"))
    (home / ".ssh" / "known_hosts").write_text(f"@cert-authority * {other}")
    result = await refusal(make_host(port=server.port))
    assert result.cause == "host-key-unknown"
    assert "the host key of 127.0.0.1" in result.message  # ssh asks about the plain key, too


async def test_revoked_key_is_refused(start_sshd: Start, make_host: MakeHost, home: Path) -> None:
    server = start_sshd()
    line = server.known_hosts_line()
    (home / ".ssh" / "known_hosts").write_text(f"{line}@revoked * {line.split(' ', 1)[1]}")
    result = await refusal(make_host(port=server.port), ACCEPT)
    assert "revoked" in result.message
    assert "known_hosts:2" in result.message


# Client keys.


async def test_login_with_an_unknown_client_key_is_refused(
    trusted_sshd: Start, make_host: MakeHost, tmp_path: Path, keygen: Callable[..., Path]
) -> None:
    server = trusted_sshd()
    other = keygen(tmp_path / "other")
    result = await refusal(make_host(port=server.port, user="root", identity_file=str(other)))
    assert result.cause == "authentication"
    assert "root" in result.message
    assert str(other) in result.message
    assert f"ssh-copy-id -p {server.port} root@127.0.0.1" in result.remedy


async def test_login_with_an_encrypted_key_does_not_prompt(
    trusted_sshd: Start, make_host: MakeHost, home: Path
) -> None:
    server = trusted_sshd()
    key = home / ".ssh" / "id_ed25519"
    tool("ssh-keygen", "-q", "-p", "-N", "secret", "-f", key)
    result = await refusal(make_host(port=server.port))
    assert result.cause == "authentication"
    assert "encrypted" in result.message
    assert shlex.split(result.remedy) == ["ssh-add", str(key)]


@pytest.fixture
def agent(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A private ssh-agent."""
    path = str(tmp_path / "agent")
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()  # it has printed its socket
    monkeypatch.setenv("SSH_AUTH_SOCK", path)
    yield path
    process.terminate()
    process.wait(10)
    process.stdout.close()


async def test_login_with_an_encrypted_key_in_the_agent_succeeds(
    trusted_sshd: Start, make_host: MakeHost, home: Path, agent: str
) -> None:
    server = trusted_sshd()
    key = home / ".ssh" / "id_ed25519"
    tool("ssh-add", "-q", key)
    tool("ssh-keygen", "-q", "-p", "-N", "secret", "-f", key)
    assert await works(make_host(port=server.port))


async def test_login_with_a_full_agent_offers_the_named_key_first(
    trusted_sshd: Start,
    make_host: MakeHost,
    home: Path,
    agent: str,
    tmp_path: Path,
    keygen: Callable[..., Path],
) -> None:
    server = trusted_sshd("MaxAuthTries 3")
    for number in range(6):
        key = keygen(tmp_path / f"key{number}")
        tool("ssh-add", "-q", key)
    named = str(home / ".ssh" / "id_ed25519")
    assert await works(make_host(port=server.port, identity_file=named))


async def test_login_with_a_missing_agent_uses_key_files(
    trusted_sshd: Start, make_host: MakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nowhere/agent")
    assert await works(make_host(port=trusted_sshd().port))


# Gateways.


def log_of(server: Any) -> str:
    return (Path(server.folder) / "log").read_text()


async def test_nodes_behind_one_gateway_share_its_connection(
    trusted_sshd: Start, make_host: MakeHost
) -> None:
    gate, inner = trusted_sshd(), trusted_sshd()
    hosts = [
        make_host(f"n{i}", port=inner.port, proxy_jump=f"127.0.0.1:{gate.port}") for i in range(12)
    ]
    nodes = await connect_all(hosts)
    for node in nodes:
        assert isinstance(node, SshNode), node
    assert log_of(gate).count("Accepted publickey") == 1
    assert log_of(inner).count("Accepted publickey") == 12
    first, *rest = (node for node in nodes if isinstance(node, SshNode))
    for node in rest:
        await node.close()
    assert (await first.run("echo still here")).stdout == b"still here\n"
    await first.close()


async def test_two_hops_in_ssh_config_are_used(
    trusted_sshd: Start, make_host: MakeHost, home: Path
) -> None:
    outer, middle, inner = trusted_sshd(), trusted_sshd(), trusted_sshd()
    (home / ".ssh" / "config").write_text(
        f"Host outer\n HostName 127.0.0.1\n Port {outer.port}\n"
        f"Host middle\n HostName 127.0.0.1\n Port {middle.port}\n ProxyJump outer\n"
        f"Host inner\n HostName 127.0.0.1\n Port {inner.port}\n"
    )
    assert await works(make_host(address="inner", proxy_jump="outer,middle"))
    assert await works(make_host(address="inner", proxy_jump="middle"))
    assert log_of(outer).count("Accepted publickey") == 2
    assert log_of(middle).count("Accepted publickey") == 2


async def test_node_that_its_gateway_cannot_reach_is_reported(
    trusted_sshd: Start, make_host: MakeHost
) -> None:
    gate = trusted_sshd()
    host = make_host(port=1, proxy_jump=f"127.0.0.1:{gate.port}")
    result = await refusal(host)
    assert result.cause == "refused"
    assert "gateway 127.0.0.1" in result.message


async def test_failing_gateway_is_reported_with_a_command_that_works(
    trusted_sshd: Start, make_host: MakeHost
) -> None:
    gate = trusted_sshd()
    result = await refusal(make_host(port=1, proxy_jump=f"127.0.0.1:{gate.port}"))
    line = result.remedy.partition(": ")[2]
    assert shlex.split(line)[:3] == ["ssh", "-p", str(gate.port)]
    assert shlex.split(line)[-1] == "nc -vz 127.0.0.1 1"


async def test_inventory_with_proxy_jump_none_uses_no_gateway(
    trusted_sshd: Start, make_host: MakeHost, home: Path
) -> None:
    server = trusted_sshd()
    (home / ".ssh" / "config").write_text("Host *\n ProxyJump gate.invalid\n")
    assert await works(make_host(port=server.port, proxy_jump="none"))


async def test_user_with_a_domain_is_sent_unchanged(
    trusted_sshd: Start, make_host: MakeHost, home: Path
) -> None:
    server = trusted_sshd("LogLevel VERBOSE")
    for host in (
        make_host(port=server.port, user="CORP\\ann"),
        make_host(name="b", port=server.port),
    ):
        (home / ".ssh" / "config").write_text("User CORP\\ann # of the directory\n")
        result = await refusal(host)
        assert result.cause == "authentication"
        line = result.remedy.partition(", or set")[0]
        assert shlex.split(line)[-1] == "CORP\\ann@127.0.0.1"
    assert log_of(server).count("Invalid user CORP\\\\ann") >= 2


async def test_proxy_command_is_used(trusted_sshd: Start, make_host: MakeHost, home: Path) -> None:
    gate, inner = trusted_sshd(), trusted_sshd()
    key = home / ".ssh" / "id_ed25519"
    (home / ".ssh" / "config").write_text(
        f"Host hidden\n HostName 127.0.0.1\n Port {inner.port}\n"
        f" ProxyCommand ssh -F none -i {key} -o UserKnownHostsFile={home}/.ssh/known_hosts"
        f" -p {gate.port} -W %h:%p 127.0.0.1\n"
    )
    assert await works(make_host(address="hidden"))


async def test_failing_proxy_command_is_reported_with_its_stderr(
    trusted_sshd: Start, make_host: MakeHost, home: Path
) -> None:
    (home / ".ssh" / "config").write_text("ProxyCommand echo no such door >&2; exit 1\n")
    result = await refusal(make_host(address="hidden"))
    assert result.cause == "protocol"
    assert "no such door" in result.message


async def test_proxy_command_with_output_on_stderr_works(
    trusted_sshd: Start, make_host: MakeHost, home: Path
) -> None:
    server = trusted_sshd()
    (home / ".ssh" / "config").write_text(
        f"HostKeyAlias [127.0.0.1]:{server.port}\n"
        f"ProxyCommand sh -c 'echo hello >&2; exec ssh -F none -i {home}/.ssh/id_ed25519 "
        f"-o UserKnownHostsFile={home}/.ssh/known_hosts -p {server.port} "
        f"-W 127.0.0.1:{server.port} 127.0.0.1'\n"
    )
    assert await works(make_host(address="hidden"))


async def test_gateway_for_all_hosts_is_not_its_own_gateway(
    trusted_sshd: Start, make_host: MakeHost, home: Path
) -> None:
    gate, inner = trusted_sshd(), trusted_sshd()
    (home / ".ssh" / "config").write_text(f"Host *\n ProxyJump 127.0.0.1:{gate.port}\n")
    assert await works(make_host(port=inner.port))
    assert await works(make_host(port=gate.port))
    assert log_of(gate).count("Accepted publickey") == 2


# Shells and links.


async def test_output_of_shell_start_up_files_is_noise(
    trusted_sshd: Start, make_host: MakeHost
) -> None:
    server = trusted_sshd('ForceCommand echo Welcome; printf mail:; eval "$SSH_ORIGINAL_COMMAND"')
    node = await reach(make_host(port=server.port))
    assert isinstance(node, SshNode)
    channel = await node.open("echo data")
    assert await channel.read() == b"data\n"
    assert channel.noise == b"Welcome\nmail:"
    await node.close()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("echo This account is \x1bnot available.; exit 1", "This account is not available"),
        ("yes noise", "without end"),
    ],
)
async def test_login_shell_that_does_not_run_the_script_is_reported(
    trusted_sshd: Start, make_host: MakeHost, command: str, message: str
) -> None:
    server = trusted_sshd(f"ForceCommand {command}")
    node = await reach(make_host("n7", port=server.port))
    assert isinstance(node, SshNode)
    with pytest.raises(ShellError, match=message) as caught:
        await node.open("true")
    assert caught.value.verdict.cause == "shell"
    assert caught.value.verdict.node == "n7"
    await node.close()


async def test_too_many_sessions_are_reported_with_the_sshd_setting(
    trusted_sshd: Start, make_host: MakeHost
) -> None:
    server = trusted_sshd("MaxSessions 1")
    node = await reach(make_host(port=server.port))
    assert isinstance(node, SshNode)
    channel = await node.open("cat")
    with pytest.raises(NodeError, match="MaxSessions"):
        await node.open("true")
    channel.close()
    await node.close()


async def test_read_on_a_broken_connection_raises_instead_of_ending(
    trusted_sshd: Start, make_host: MakeHost
) -> None:
    node = await reach(make_host(port=trusted_sshd().port))
    assert isinstance(node, SshNode)
    channel = await node.open("printf '%s\\ntail\\n' $PPID; exec sleep 60")
    session = int(await channel.readline())  # the sshd process of this connection
    os.kill(session, 9)
    assert await channel.readline() == b"tail\n"
    async with asyncio.timeout(10):
        with pytest.raises(ConnectionLost):
            await channel.read()
        with pytest.raises(ConnectionLost):
            await channel.wait()
        with pytest.raises(ConnectionLost):
            await channel.write(b"x")
        with pytest.raises(ConnectionLost):
            await node.open("true")
    await node.close()


async def test_sixteen_nodes_at_one_sshd_stay_within_max_startups(
    trusted_sshd: Start, make_host: MakeHost
) -> None:
    server = trusted_sshd("MaxStartups 9:100:9")
    nodes = await connect_all([make_host(f"n{i}", port=server.port) for i in range(16)])
    for node in nodes:
        assert isinstance(node, SshNode), node
        await node.close()
