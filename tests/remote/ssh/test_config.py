"""ssh_config is applied, the inventory takes precedence, and unused keywords are reported."""

from __future__ import annotations

import asyncio
import os
import shlex
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import UsageError
from orchestrator.inventory import Host
from orchestrator.remote.ssh.config import ConfigParseError, Resolver, Target


def resolve(host: Host, files: tuple[Path, ...]) -> Target:
    async def ask() -> Target:
        async with Resolver(files) as resolver:
            (target,) = await resolver.resolve_all([host])
            return target

    return asyncio.run(ask())


def resolve_hop(hop: str) -> Target:
    return asyncio.run(Resolver(()).resolve_hop(hop, ()))


@pytest.fixture
def resolved(home: Path, make_host: Callable[..., Host]) -> Callable[..., Target]:
    def resolve_with(config: str, **host: object) -> Target:
        file = home / ".ssh" / "config"
        file.write_text(config)
        return resolve(make_host(**host), (file,))

    return resolve_with


def test_resolve_without_configuration_uses_address_port_22_and_this_user(
    resolved: Callable[..., Target], home: Path
) -> None:
    target = resolved("", address="node0")
    assert (target.hostname, target.port) == ("node0", 22)
    assert target.user
    assert target.user_known_hosts[0] == f"{home}/.ssh/known_hosts"


def test_resolve_applies_connection_keywords(resolved: Callable[..., Target], home: Path) -> None:
    target = resolved(
        "Host n*\n HostName 10.0.0.1\n Port 2222\n User me\n IdentityFile ~/k\n ProxyJump a,b\n"
        " UserKnownHostsFile /u1 /u2\n GlobalKnownHostsFile none\n HostKeyAlias alias\n"
        " IdentitiesOnly yes\n HashKnownHosts yes\n",
        address="n1",
    )
    assert (target.hostname, target.port, target.user) == ("10.0.0.1", 2222, "me")
    assert target.identity_files == (f"{home}/k",)
    assert target.proxy_jump == "a,b"
    assert target.user_known_hosts == ("/u1", "/u2")
    assert target.global_known_hosts == ()
    assert target.host_key_alias == "alias"
    assert target.identities_only
    assert target.hash_known_hosts
    assert target.warnings == ()


def test_resolve_prefers_the_inventory_to_ssh_config(resolved: Callable[..., Target]) -> None:
    target = resolved(
        "Host *\n Port 1\n User other\n IdentityFile /b\n ProxyCommand nc %h %p\n",
        port=2,
        user="me",
        identity_file="/a",
        proxy_jump="gate",
        known_hosts="/extra",
    )
    assert (target.port, target.user) == (2, "me")
    assert target.identity_files == ("/a", "/b")
    assert (target.proxy_jump, target.proxy_command) == ("gate", None)
    assert target.extra_known_hosts == ("/extra",)


def test_proxy_command_has_its_tokens_expanded(resolved: Callable[..., Target]) -> None:
    target = resolved("Host n\n HostName h\n Port 7\n ProxyCommand nc %h %p\n", address="n")
    assert target.proxy_command == "nc h 7"


def test_resolve_applies_included_files_and_match_blocks(
    resolved: Callable[..., Target], home: Path
) -> None:
    (home / ".ssh" / "more").write_text("Host n\n Port 99\n")
    target = resolved("Include more\nMatch user me host n\n HostName x\n", address="n", user="me")
    assert (target.hostname, target.port) == ("x", 99)


def test_unused_keyword_is_reported_only_for_matching_hosts(
    resolved: Callable[..., Target], home: Path
) -> None:
    config = "Host n\n RequiredRSASize 4096\n ControlMaster auto\nHost other\n PKCS11Provider x\n"
    assert resolved(config, address="n").warnings == (
        f"ssh_config: requiredrsasize ({home}/.ssh/config:2) has no effect on orch",
    )


def test_identity_agent_none_disables_the_agent(
    resolved: Callable[..., Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/agent")
    assert resolved("").agent == "/agent"
    assert resolved("IdentityAgent none\n").agent is None
    assert resolved("IdentityAgent /other\n").agent == "/other"


@pytest.mark.parametrize(
    ("hop", "user", "hostname", "port"),
    [
        ("gate", None, "gate", 22),
        ("me@gate:2222", "me", "gate", 2222),
        ("me@[fe80::1]:22", "me", "fe80::1", 22),
        ("fe80::1", None, "fe80::1", 22),
        ("ssh://me@gate:1", "me", "gate", 1),
    ],
)
def test_resolve_hop_parses_ssh_notation(
    home: Path, hop: str, user: str | None, hostname: str, port: int
) -> None:
    target = resolve_hop(hop)
    assert (target.hostname, target.port) == (hostname, port)
    assert user in (None, target.user)


@pytest.mark.parametrize(
    "hop",
    [
        "",
        "me@",
        "gate:ssh",
        "gate:0",
        "gate:65536",
        "gate:\u0661",
        "a;b@gate",
        "me@$(id)",
        "-oX=y@g",
    ],
)
def test_resolve_hop_with_an_invalid_gateway_is_refused(home: Path, hop: str) -> None:
    with pytest.raises(ConfigParseError):
        resolve_hop(hop)


def test_inventory_values_are_not_expanded_from_the_environment(
    resolved: Callable[..., Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "hunter2")
    target = resolved(
        "ProxyCommand nc %r\nIdentityFile /k/%r\n",
        user="a%h%%b",
        identity_file="/x/${TOKEN}/%h",
        known_hosts="/y/${TOKEN}/%h",
    )
    assert target.user == "a%h%%b"
    assert target.proxy_command == "nc a%h%%b"
    assert target.identity_files == ("/x/${TOKEN}/%h", "/k/a%h%%b")
    assert target.extra_known_hosts == ("/y/${TOKEN}/%h",)


@pytest.mark.parametrize("user", ["$(touch x)", "${HOME}", "a;b", "-l"])
def test_user_that_ssh_refuses_never_reaches_a_proxy_command(home: Path, user: str) -> None:
    file = home / ".ssh" / "config"
    file.write_text("ProxyCommand nc %r\n")
    host = Host.model_construct(name="n", address="n", user=user, port=None)  # bypasses validation
    with pytest.raises(ConfigParseError, match="ssh takes no user called"):
        resolve(host, (file,))


def test_user_from_ssh_config_is_taken_literally(
    resolved: Callable[..., Target],
) -> None:
    assert resolved("User DOMAIN\\bob\n").user == "DOMAIN\\bob"
    assert resolved('User "odd; name" # theirs\n').user == "odd; name"


def test_tokens_are_expanded_in_the_same_keywords_as_in_ssh(
    resolved: Callable[..., Target], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUB", "s")
    target = resolved(
        "HostName %h.lan\nUserKnownHostsFile ~/kh/${SUB}/%k-%r\nProxyJump %r@gate\n"
        "ProxyCommand nc ${X:-y} %h %p\nIdentityFile %d/.ssh/%n\n",
        address="n1",
        user="me",
    )
    assert target.hostname == "n1.lan"
    assert target.user_known_hosts == (f"{home}/kh/s/n1-me",)
    assert target.proxy_jump == "me@gate"
    assert target.identity_files == (f"{home}/.ssh/n1",)
    # The shell expands ${...} in a command.
    config = "ProxyCommand=nc ${X:-y} 'a  b'\n"
    assert resolved(config).proxy_command == "nc ${X:-y} 'a  b'"


def test_value_from_many_files_is_expanded_once(home: Path) -> None:
    user, system = home / ".ssh" / "config", home / "ssh_config"
    (home / ".ssh" / "more").write_text("Host other\n")
    user.write_text("Include more\nProxyCommand nc %%h\n")
    system.write_text("Host other\n")
    assert resolve(Host(name="n"), (user, system)).proxy_command == "nc %h"


def test_match_exec_command_has_its_tokens_expanded(resolved: Callable[..., Target]) -> None:
    config = 'Match exec "test %n = n1"\n Port 7\n'
    assert resolved(config, address="n1").port == 7
    assert resolved(config, address="n2").port == 22


def test_file_in_another_encoding_is_read_as_ssh_reads_it(home: Path) -> None:
    file = home / ".ssh" / "config"
    file.write_bytes(b"# Schl\xfcssel\nUser j\xf6rg\nIdentityFile ~/\xe9\nProxyCommand nc %h\n")
    target = resolve(Host(name="n"), (file,))
    assert target.user == "j\udcf6rg"
    assert target.identity_files == (f"{home}/\udce9",)


def test_include_uses_the_order_and_base_folder_of_ssh(home: Path) -> None:
    file, system = home / ".ssh" / "config", home / "etc" / "ssh_config"
    (home / ".ssh" / "d").mkdir()
    (home / "etc").mkdir()
    (home / ".ssh" / "d" / "b").write_text("Port 2\n")
    (home / ".ssh" / "d" / "a").write_text("Port 1\n")
    (home / "etc" / "more").write_text("User system\n")
    file.write_text("Include d/* none/*\n")
    system.write_text("Include more\n")
    target = resolve(Host(name="n"), (file, system))
    assert (target.port, target.user) == (1, "system")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("Include config\n", "config:1: files include each other more than 16 deep"),
        ("User a\nInclude more\n", "config:2: files include each other more than 16 deep"),
        ("\nInclude pipe\n", "pipe: cannot be read: nothing came"),
        ('Host *\n User "a\n', "config:2: a quote is not closed"),
        ("User\n", "config:1: expected a keyword and its value"),
        ("User a b\n", "config:1: there is more after the value of user: b"),
        ("Port 99999\n", "config:1: port 99999 is not a number from 1 to 65535"),
        ("Port \u0661\n", "config:1: port .* is not a number"),
        ("Match\n", "config:1: expected a keyword and its value"),
        ('Match ""\n', "config:1: a condition of Match has no name"),
        ("Match host\n", "config:1: Missing host match pattern"),
        ("Match localnetwork\n", "config:1: .*localnetwork"),
        ("Match sometimes x\n", "config:1: Invalid match condition sometimes"),
        ("\0\n", "config:1: expected a keyword and its value"),
        ("ProxyCommand nc %q\n", "proxycommand of n: %q stands for nothing"),
        ("IdentityFile %\n", "identityfile of n: % stands for nothing"),
        ("IdentityFile ${NOT_SET_HERE}\n", r"identityfile of n: \$\{NOT_SET_HERE\} is not set"),
        ("HostName %x\n", "config:1: %x stands for nothing"),
        ("TCPKeepAlive \x1b[2J\n", "config:1: Invalid tcpkeepalive"),
    ],
)
def test_error_in_a_file_is_reported_with_file_and_line(
    home: Path, monkeypatch: pytest.MonkeyPatch, config: str, message: str
) -> None:
    monkeypatch.setattr("orchestrator.remote.ssh.config_files._READ_TIMEOUT", 0.05)
    file = home / ".ssh" / "config"
    file.write_text(config)
    (home / ".ssh" / "more").write_text("\nInclude config\n")
    os.mkfifo(home / ".ssh" / "pipe")
    with pytest.raises(ConfigParseError, match=message) as caught:
        resolve(Host(name="n"), (file,))
    assert str(caught.value).isprintable()


def test_pipe_or_endless_device_as_a_file_is_refused_in_bounded_time(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.remote.ssh.config_files._READ_TIMEOUT", 0.05)
    os.mkfifo(home / "pipe")
    with pytest.raises(ConfigParseError, match="pipe: cannot be read: nothing came"):
        resolve(Host(name="n"), (home / "pipe",))
    with pytest.raises(ConfigParseError, match="/dev/zero: cannot be read: over"):
        resolve(Host(name="n"), (Path("/dev/zero"),))


def test_include_that_matches_a_folder_skips_it(resolved: Callable[..., Target]) -> None:
    assert resolved("Include .\nPort 7\n").port == 7


def test_include_of_exponentially_many_files_is_bounded(home: Path) -> None:
    for depth in range(14):
        more = f"Include f{depth + 1}\n" * 2
        (home / ".ssh" / f"f{depth}").write_text(more)
    (home / ".ssh" / "f14").write_text("")
    with pytest.raises(ConfigParseError, match="more than 4,096 files include each other"):
        resolve(Host(name="n"), (home / ".ssh" / "f0",))


def test_host_pattern_with_many_stars_is_matched_quickly(resolved: Callable[..., Target]) -> None:
    begun = time.monotonic()
    pattern = "*a" * 2000
    assert resolved(f"Host {pattern}b\n Port 7\n", address="a" * 253).port == 22
    assert resolved(f"Match host {pattern}b\n Port 7\n", address="a" * 253).port == 22
    assert time.monotonic() - begun < 30


ODD = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@given(user=ODD, hostname=ODD, jump=st.none() | ODD, port=st.integers(1, 65535))
def test_command_to_paste_is_split_into_the_intended_words(
    user: str, hostname: str, jump: str | None, port: int
) -> None:
    target = Target(label=hostname, hostname="h", port=port, user=user, proxy_jump=jump)
    line = target.command("nc", "-vz", hostname, program="ssh-copy-id")
    assert line.isprintable()
    if all(word.isprintable() for word in (user, hostname, jump or "")):
        *options, destination, there = shlex.split(line)[1:]
        assert destination == f"{user}@{hostname}"
        assert shlex.split(there) == ["nc", "-vz", hostname]
        assert options == [
            *(["-p", str(port)] if port != 22 else []),
            *(["-o", f"ProxyJump={jump}"] if jump else []),
        ]


def test_user_without_a_name_on_this_machine_gets_the_remedy(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("orchestrator.remote.ssh.config_files.getuser", nobody)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: nobody())
    with pytest.raises(UsageError, match="has no name on this machine") as caught:
        resolve(Host(name="n", user="me"), ())
    assert "export LOGNAME=" in str(caught.value)
    assert "ssh_config" not in str(caught.value)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("localnetwork 127.0.0.0/8", True),
        ("localnetwork 192.0.2.128/30,127.0.0.1/32", True),
        ("!localnetwork 127.0.0.0/8", False),
        ("localnetwork 198.51.100.0/24", False),
        ("host other localnetwork 127.0.0.0/8", False),
        ("sessiontype shell", False),
        ("sessiontype=exec,subsystem", True),
        ('command "rsync*"', False),
        ("version OpenSSH_9.*", False),
        ("!version OpenSSH_9.* host n*", True),
    ],
)
def test_match_condition_of_newer_ssh_versions_is_evaluated(
    resolved: Callable[..., Target], condition: str, holds: bool
) -> None:
    target = resolved(f"Match {condition}\n Port 77\n", address="n1")
    assert target.port == (77 if holds else 22)


@pytest.mark.parametrize("name", ["config", "more"])
def test_file_that_others_can_write_is_refused_as_in_ssh(home: Path, name: str) -> None:
    ssh = home / ".ssh"
    (ssh / "config").write_text("Include more\n")
    (ssh / "more").write_text("ProxyCommand touch here\n")
    assert resolve(Host(name="n"), (ssh / "config",)).proxy_command
    (ssh / name).chmod(0o646)
    with pytest.raises(ConfigParseError, match=rf"chmod go-w {ssh / name}"):
        resolve(Host(name="n"), (ssh / "config",))


def test_symlink_to_a_file_of_the_user_is_followed(home: Path) -> None:
    (home / "dotfiles").write_text("Port 77\n")
    (home / ".ssh" / "config").symlink_to(home / "dotfiles")
    assert resolve(Host(name="n"), (home / ".ssh" / "config",)).port == 77


def test_settings_that_only_openssh_can_apply_are_listed(
    resolved: Callable[..., Target], home: Path
) -> None:
    config = (
        "GSSAPIAuthentication yes\nHostbasedAuthentication no\nPKCS11Provider none\n"
        "KnownHostsCommand /bin/keys %H\nControlPath ~/.ssh/cm-%h\nControlPath ignored\n"
    )
    target = resolved(config, address="n")
    assert target.needs_openssh == ("KnownHostsCommand /bin/keys %H",)
    assert target.login_by_openssh == ("GSSAPIAuthentication yes",)
    assert target.control_path == f"{home}/.ssh/cm-n"


def test_canonical_names_without_ssh_are_reported(
    resolved: Callable[..., Target], home: Path
) -> None:
    target = resolved("CanonicalizeHostname yes\nRemoteCommand tmux\n", address="n")
    assert target.warnings == (
        f"ssh_config: canonicalizehostname ({home}/.ssh/config:1) has no effect on orch",
    )
    assert target.without_effect == (
        f"canonicalizehostname ({home}/.ssh/config:1)",
        f"remotecommand ({home}/.ssh/config:2)",
    )
