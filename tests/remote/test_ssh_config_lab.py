"""Configurations as people have them: orch logs in, or refuses to, where `ssh` does with the same file."""

from __future__ import annotations

import asyncio
import pwd
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import Unreachable
from orchestrator.inventory import Host
from orchestrator.remote.agent import Agent
from orchestrator.remote.base import Node, ShellError
from orchestrator.remote.ssh.connect import ConnectOptions, SshNode, connect_all
from orchestrator.remote.ssh.openssh_config import Openssh

pytestmark = pytest.mark.lab

Start = Callable[..., Any]
Keygen = Callable[..., Path]


def tool(*argv: str | Path) -> str:
    command = [str(word) for word in argv]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


class Beside:
    """Writes ~/.ssh/config, and connects to a host by orch and by ssh with it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.file = home / ".ssh" / "config"
        self.more = ""

    def write(self, *lines: str) -> None:
        """Write the lines; what ssh would take from its own home folder comes last."""
        known, key = self.home / ".ssh/known_hosts", self.home / ".ssh/id_ed25519"
        usual = f"Host *\nUser root\nIdentityFile {key}\nUserKnownHostsFile {known}\n"
        self.file.write_text("\n".join(lines) + "\n" + usual)
        self.file.chmod(0o600)

    def ssh(self, name: str = "h1") -> bool:
        """Return whether ssh logs in."""
        command = ["ssh", "-F", str(self.file), "-o", "BatchMode=yes", name, "true"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
        return done.returncode == 0

    async def orch(self, name: str = "h1") -> Node | Unreachable:
        (result,) = await connect_all([Host(name=name)])
        if isinstance(result, SshNode):
            assert (await result.run("echo in")).stdout == b"in\n"
            await result.close()
        return result

    async def both(self) -> Node | Unreachable:
        """Return orch's result, which is a node if ssh logs in."""
        by_ssh = await asyncio.to_thread(self.ssh)
        result = await self.orch()
        assert isinstance(result, SshNode) is by_ssh, result
        return result


@pytest.fixture
def beside(home: Path) -> Beside:
    return Beside(home)


@pytest.fixture(params=["own reader", "ssh -G"])
def resolving(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to resolve a host: orch's own, and ssh's for what orch is not certain about."""
    monkeypatch.setenv("SHELL", "/bin/sh")
    if request.param == "ssh -G":
        ssh = Openssh(shutil.which("ssh") or "", ("-F", str(home / ".ssh/config")))
        monkeypatch.setattr(Openssh, "find", lambda: ssh)


LOGINS = {
    "trailing comments": (
        "Host h1\n HostName 127.0.0.1   # lab box\n Port PORT # of sshd\nMatch all # SETUP"
    ),
    "Match exec with tokens": (
        'Host h1\n HostName 127.0.0.1\n Port PORT\nMatch originalhost h1 !exec "test %h = 127.0.0.1"\n'
        " ProxyJump nowhere.invalid"
    ),
    "ProxyCommand after an equals sign": (
        "Host h1\n HostName 127.0.0.1\n Port PORT\n ProxyCommand=PROXY %h %p"
    ),
    "a shell's variable in a ProxyCommand": (
        "Host h1\n HostName 127.0.0.1\n Port PORT\n ProxyCommand sh -c 'exec ${RUN:-PROXY} %h %p'"
    ),
    "%% in a ProxyCommand": (
        "Host h1\n HostName 127.0.0.1\n Port PORT\n ProxyCommand sh -c 'x=100%%; exec PROXY %h %p'"
    ),
    "%k in an IdentityFile": (
        "Host h1\n HostName 127.0.0.1\n Port PORT\n IdentityFile HOME/keys/%k\n IdentitiesOnly yes"
    ),
    "ProxyCommand none before a ProxyJump": (
        "Host h1\n HostName 127.0.0.1\n Port PORT\n ProxyCommand none\nHost *\n ProxyJump nowhere.invalid"
    ),
    "a latin-1 comment": "# Universit\udce9\nHost h1\n HostName 127.0.0.1\n Port PORT",
    "included files in order, without hidden ones": (
        "Include HOME/.ssh/conf.d/*\nHost h1\n HostName 127.0.0.1\n Port PORT"
    ),
    "an ignored unknown keyword": (
        "IgnoreUnknown UseKeychain\nUseKeychain yes\nHost h1\n HostName 127.0.0.1\n Port PORT"
    ),
    "Match final after HostName": (
        "Host h1\n HostName 127.0.0.1\nMatch final host 127.0.0.1\n Port PORT"
    ),
    "a list of patterns that is one pattern": (
        "Host h1,h2\n HostName nowhere.invalid\nHost h1\n HostName 127.0.0.1\n Port PORT"
    ),
}  # fmt: skip


@pytest.mark.usefixtures("resolving")
@pytest.mark.parametrize("config", LOGINS.values(), ids=LOGINS)
async def test_login_with_a_legal_configuration_succeeds(
    trusted_sshd: Start, beside: Beside, config: str
) -> None:
    folder = beside.home / ".ssh/conf.d"
    folder.mkdir()
    (folder / "10.conf").write_text("Host h1\n User nobody-here\n")
    (folder / "00.conf").write_text("Host h1\n User root\n")
    (folder / ".00.conf.swp").write_bytes(b"b0VIM\0\xff")
    proxy = beside.home / "proxy"
    (beside.home / "keys").mkdir()
    shutil.copy(beside.home / ".ssh/id_ed25519", beside.home / "keys/h1")
    proxy.write_text(
        '#!/bin/sh\nexec ssh -F HOME/inner -W "$1:$2" gate\n'.replace("HOME", str(beside.home))
    )
    proxy.chmod(0o700)
    server = trusted_sshd()
    key, known = beside.home / ".ssh/id_ed25519", beside.home / ".ssh/known_hosts"
    (beside.home / "inner").write_text(
        f"Host gate\n HostName 127.0.0.1\n Port {server.port}\n User root\n IdentityFile {key}\n"
        f" UserKnownHostsFile {known}\n"
    )
    written = config.replace("PORT", str(server.port)).replace("PROXY", str(proxy))
    usual = f"Host *\nUser root\nIdentityFile {key}\nUserKnownHostsFile {known}\n"
    text = written.replace("HOME", str(beside.home)) + "\n" + usual
    beside.file.write_bytes(text.encode("utf-8", "surrogateescape"))
    beside.file.chmod(0o600)
    result = await beside.both()
    assert isinstance(result, SshNode), result


# Consent to unknown host keys, and revoked ones.


@pytest.mark.usefixtures("resolving")
@pytest.mark.parametrize("word", ["accept-new", "no"])
async def test_unknown_key_is_trusted_if_the_configuration_says_so(
    start_sshd: Start, beside: Beside, word: str
) -> None:
    server = start_sshd()
    beside.write(
        "Host h1",
        "HostName 127.0.0.1",
        f"Port {server.port}",
        f"StrictHostKeyChecking {word}",
        "HashKnownHosts no",
    )
    result = await beside.orch()
    assert isinstance(result, SshNode), result
    assert result.warnings == (
        f"{beside.file}:4: unknown host keys are trusted (StrictHostKeyChecking)",
    )
    assert f":{server.port} ssh-ed25519" in (beside.home / ".ssh/known_hosts").read_text()
    again = await beside.both()
    assert isinstance(again, SshNode)
    assert again.warnings == ()


async def test_unknown_key_is_not_stored_in_dev_null(start_sshd: Start, beside: Beside) -> None:
    server = start_sshd()
    beside.write(
        "Host h1", "HostName 127.0.0.1", f"Port {server.port}", "StrictHostKeyChecking no",
        "UserKnownHostsFile=/dev/null", "GlobalKnownHostsFile=/dev/null", "ForwardAgent yes",
    )  # fmt: skip
    assert isinstance(await beside.both(), SshNode)
    assert not (beside.home / ".ssh/known_hosts").exists()


async def test_changed_key_is_refused_in_spite_of_the_configuration(
    start_sshd: Start, beside: Beside, keygen: Keygen
) -> None:
    server = start_sshd()
    line = server.known_hosts_line(keygen(beside.home / "old"))
    (beside.home / ".ssh/known_hosts").write_text(line)
    beside.write("Host h1", "HostName 127.0.0.1", f"Port {server.port}", "StrictHostKeyChecking no")
    result = await beside.orch()
    assert isinstance(result, Unreachable)
    assert result.cause == "host-key-changed"


@pytest.mark.parametrize("kind", ["list", "krl"])
async def test_revoked_key_is_refused(trusted_sshd: Start, beside: Beside, kind: str) -> None:
    server = trusted_sshd()
    revoked = Path(f"{server.host_keys[0]}.pub")
    if kind == "krl":
        tool("ssh-keygen", "-k", "-f", beside.home / "krl", revoked)
        revoked = beside.home / "krl"
    beside.write(
        "Host h1", "HostName 127.0.0.1", f"Port {server.port}", f"RevokedHostKeys {revoked}"
    )
    result = await beside.both()
    assert isinstance(result, Unreachable)
    assert f"is revoked (RevokedHostKeys {revoked})" in result.message
    (beside.home / ".ssh/known_hosts").unlink()
    (again,) = await connect_all([Host(name="h1")], ConnectOptions(accept_new=True))
    assert isinstance(again, Unreachable)
    assert not (beside.home / ".ssh/known_hosts").exists()


async def test_key_that_is_not_revoked_is_accepted(
    trusted_sshd: Start, beside: Beside, keygen: Keygen
) -> None:
    server, other = trusted_sshd(), keygen(beside.home / "other")
    lines = ["Host h1", "HostName 127.0.0.1", f"Port {server.port}"]
    beside.write(*lines, f"RevokedHostKeys {other}.pub")
    assert isinstance(await beside.both(), SshNode)
    beside.write(*lines, "RevokedHostKeys /none/here")
    result = await beside.both()
    assert isinstance(result, Unreachable)
    assert "cannot be looked up" in result.message


async def test_known_key_is_accepted_beside_an_authority_of_others(
    start_sshd: Start, beside: Beside, keygen: Keygen
) -> None:
    signer, other = keygen(beside.home / "signer"), keygen(beside.home / "other")
    first = start_sshd()
    key = first.host_keys[0]
    tool("ssh-keygen", "-q", "-s", signer, "-h", "-I", "x", "-n", "127.0.0.1", f"{key}.pub")
    server = start_sshd(f"HostKey {key}", f"HostCertificate {key}-cert.pub", kinds=())
    authority = tool("cat", f"{other}.pub")
    known = f"@cert-authority * {authority}{server.known_hosts_line(key)}"
    (beside.home / ".ssh/known_hosts").write_text(known)
    beside.write("Host h1", "HostName 127.0.0.1", f"Port {server.port}")
    assert isinstance(await beside.both(), SshNode)


# What a login needs, and what is said about one that fails.


async def test_connect_timeout_counts_unless_a_limit_is_given(beside: Beside, home: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    beside.write("Host h1", "HostName 127.0.0.1", f"Port {port}", "ConnectTimeout 1")
    async with server:
        for limit, words in ((None, "within 1 s"), (0.3, "within 0.3 s")):
            (result,) = await connect_all([Host(name="h1")], ConnectOptions(timeout=limit))
            assert isinstance(result, Unreachable)
            assert words in result.message


async def test_methods_that_sshd_still_wants_are_named(trusted_sshd: Start, beside: Beside) -> None:
    server = trusted_sshd("AuthenticationMethods publickey,password", "PasswordAuthentication yes")
    beside.write("Host h1", "HostName 127.0.0.1", f"Port {server.port}", "SendEnv A")
    result = await beside.both()
    assert isinstance(result, Unreachable)
    assert result.cause == "authentication"
    assert result.methods == ("password",)
    assert "accepts a key of root" in result.message
    assert "wants password" in result.message
    assert f"sendenv ({beside.file}:4)" in result.message
    assert "ssh-copy-id" not in result.remedy


async def test_refused_key_names_the_other_methods(
    trusted_sshd: Start, beside: Beside, keygen: Keygen
) -> None:
    server = trusted_sshd("PasswordAuthentication yes", "KbdInteractiveAuthentication no")
    other = keygen(beside.home / "other")
    beside.write("Host h1", "HostName 127.0.0.1", f"Port {server.port}", "IdentitiesOnly yes")
    beside.file.write_text(beside.file.read_text().replace("/.ssh/id_ed25519", "/other"))
    result = await beside.both()
    assert isinstance(result, Unreachable)
    assert str(other.name) in result.message
    assert "it would accept password" in result.message
    assert "ssh-copy-id" in result.remedy


# Many nodes, slow and odd shells.


async def test_twelve_nodes_through_one_gateway_with_few_startups_are_all_reached(
    trusted_sshd: Start, beside: Beside
) -> None:
    gate, inner = trusted_sshd("MaxStartups 3:30:10"), trusted_sshd()
    (beside.home / "inner").write_text("")
    beside.write(
        "Host gate", "HostName 127.0.0.1", f"Port {gate.port}",
        "Host n*", "HostName 127.0.0.1", f"Port {inner.port}",
        f"ProxyCommand ssh -F {beside.file} -W %h:%p gate",
    )  # fmt: skip
    results = await connect_all([Host(name=f"n{number}") for number in range(12)])
    for result in results:
        assert isinstance(result, SshNode), result
        await result.close()


async def test_login_shell_with_a_restricted_command_set_runs_scripts(
    trusted_sshd: Start, beside: Beside
) -> None:
    server = trusted_sshd('ForceCommand rbash -c "$SSH_ORIGINAL_COMMAND"')
    beside.write("Host h1", "HostName 127.0.0.1", f"Port {server.port}")
    assert isinstance(await beside.both(), SshNode)


async def test_node_without_home_in_its_environment_has_that_of_its_user(
    trusted_sshd: Start, beside: Beside
) -> None:
    server = trusted_sshd('ForceCommand env -u HOME sh -c "$SSH_ORIGINAL_COMMAND"')
    beside.write("Host h1", "HostName 127.0.0.1", f"Port {server.port}")
    (node,) = await connect_all([Host(name="h1")])
    assert isinstance(node, SshNode), node
    assert (await node.run('printf %s "$HOME"')).stdout == pwd.getpwnam("root").pw_dir.encode()
    await node.close()


async def test_each_login_on_a_node_has_its_own_time(
    trusted_sshd: Start, home: Path, make_host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.remote.ssh.shell._SHELL_TIMEOUT", 8.0)
    server = trusted_sshd(f'ForceCommand export HOME={home}; sleep 3; eval "$SSH_ORIGINAL_COMMAND"')
    (node,) = await connect_all([make_host(port=server.port)])
    assert isinstance(node, SshNode), node
    agent = await Agent.open(node, timeout=8)  # three logins, the agent is not there yet
    await agent.close()
    await node.close()


async def test_login_shell_that_hangs_is_not_reported_as_python(
    trusted_sshd: Start, make_host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.remote.ssh.shell._SHELL_TIMEOUT", 1.0)
    server = trusted_sshd("ForceCommand exec sleep 30")
    (node,) = await connect_all([make_host(port=server.port)])
    assert isinstance(node, SshNode), node
    with pytest.raises(ShellError, match="the login shell did not run orch's command within 1 s"):
        await Agent.open(node)
    await node.close()
