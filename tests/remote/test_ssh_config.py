"""ssh_config is honoured, the inventory wins, and nothing is ignored in silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.inventory import Host
from orchestrator.remote.ssh_config import ConfigParseError, Target, resolve, resolve_hop


@pytest.fixture
def resolved(home: Path, make_host: Callable[..., Host]) -> Callable[..., Target]:
    def resolve_with(config: str, **host: object) -> Target:
        file = home / ".ssh" / "config"
        file.write_text(config)
        return resolve(make_host(**host), (file,))

    return resolve_with


def test_without_configuration_it_is_the_address_port_22_and_this_user(
    resolved: Callable[..., Target], home: Path
) -> None:
    target = resolved("", address="node0")
    assert (target.hostname, target.port) == ("node0", 22)
    assert target.user
    assert target.user_known_hosts[0] == f"{home}/.ssh/known_hosts"


def test_the_keywords_that_say_how_to_reach_a_host(
    resolved: Callable[..., Target], home: Path
) -> None:
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


def test_the_inventory_wins(resolved: Callable[..., Target]) -> None:
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


def test_a_proxy_command_has_its_tokens_filled_in(resolved: Callable[..., Target]) -> None:
    target = resolved("Host n\n HostName h\n Port 7\n ProxyCommand nc %h %p\n", address="n")
    assert target.proxy_command == "nc h 7"


def test_included_files_and_match_blocks_apply(resolved: Callable[..., Target], home: Path) -> None:
    (home / ".ssh" / "more").write_text("Host n\n Port 99\n")
    target = resolved("Include more\nMatch user me host n\n HostName x\n", address="n", user="me")
    assert (target.hostname, target.port) == ("x", 99)


def test_a_keyword_without_effect_is_reported_only_where_it_applies(
    resolved: Callable[..., Target], home: Path
) -> None:
    config = "Host n\n RevokedHostKeys /r\n ControlMaster auto\nHost other\n PKCS11Provider x\n"
    assert resolved(config, address="n").warnings == (
        f"{home}/.ssh/config:2: revokedhostkeys has no effect on orch",
    )


def test_no_agent_is_used_where_none_is_wanted(
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
def test_a_gateway_as_ssh_writes_it(
    home: Path, hop: str, user: str | None, hostname: str, port: int
) -> None:
    target = resolve_hop(hop, (), ())
    assert (target.hostname, target.port) == (hostname, port)
    assert user in (None, target.user)


@pytest.mark.parametrize("hop", ["", "me@", "gate:ssh"])
def test_a_gateway_that_cannot_be_one_is_refused(home: Path, hop: str) -> None:
    with pytest.raises(ConfigParseError):
        resolve_hop(hop, (), ())
