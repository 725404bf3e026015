"""Undocumented parts of asyncssh that orch uses: they may change with any release.

A failure here after an upgrade names what changed, and the code that uses it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from asyncssh.config import ConfigParseError, SSHClientConfig, SSHConfig
from asyncssh.pattern import HostPatternList, WildcardPattern, WildcardPatternList

USED_BY = "remote/ssh/config_files.py uses it: adapt it, or lower the cap in pyproject.toml"


def parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


@pytest.fixture
def config() -> SSHClientConfig:
    """A config as `config_files._read` makes it: without an earlier one, user or port."""
    made: Any = SSHClientConfig
    instance: SSHClientConfig = made(None, False, False, False, "me", (), "node0", ())
    return instance


def test_config_constructor_takes_these_parameters_in_this_order() -> None:
    assert parameters(SSHClientConfig.__init__) == [
        "self", "last_config", "reload", "canonical", "final", "local_user", "user", "host", "port",
    ], USED_BY  # fmt: skip


def test_config_has_the_attributes_that_are_read_and_set(config: SSHClientConfig) -> None:
    state = vars(config)
    assert {name: state[name] for name in ("_orig_host", "_local_user", "_matching", "_line_no")} == {
        "_orig_host": "node0", "_local_user": "me", "_matching": True, "_line_no": 0,
    }, USED_BY  # fmt: skip
    assert (state["_path"], state["_options"], state["_tokens"]) == (Path(), {}, {}), USED_BY
    assert SSHClientConfig._conditionals == {"host", "match"}, USED_BY


def test_config_without_match_final_reports_that(config: SSHClientConfig) -> None:
    assert config.has_match_final() is False, USED_BY


@pytest.mark.parametrize(
    ("method", "takes"),
    [
        ("_error", ["self", "reason"]),
        ("_expand_val", ["self", "value"]),
        ("_match", ["self", "option", "args"]),
        ("_set_tokens", ["self"]),
    ],
)
def test_config_method_has_the_signature_that_is_overridden_or_called(
    method: str, takes: list[str]
) -> None:
    assert parameters(getattr(SSHConfig, method)) == takes, USED_BY


@pytest.mark.parametrize(
    ("keyword", "option", "value"),
    [
        ("addressfamily", "AddressFamily", "inet"),
        ("bindaddress", "BindAddress", "10.0.0.1"),
        ("certificatefile", "CertificateFile", "k-cert.pub"),
        ("ciphers", "Ciphers", "aes128-ctr"),
        ("globalknownhostsfile", "GlobalKnownHostsFile", "/k"),
        ("hostkeyalgorithms", "HostKeyAlgorithms", "ssh-ed25519"),
        ("hostkeyalias", "HostKeyAlias", "alias"),
        ("hostname", "Hostname", "node0.example"),
        ("identitiesonly", "IdentitiesOnly", "yes"),
        ("identityagent", "IdentityAgent", "/agent"),
        ("identityfile", "IdentityFile", "k"),
        ("kexalgorithms", "KexAlgorithms", "curve25519-sha256"),
        ("macs", "MACs", "hmac-sha2-256"),
        ("proxycommand", "ProxyCommand", "nc %h %p"),
        ("proxyjump", "ProxyJump", "gate"),
        ("tag", "Tag", "lab"),
        ("tcpkeepalive", "TCPKeepAlive", "no"),
        ("user", "User", "you"),
        ("userknownhostsfile", "UserKnownHostsFile", "/k"),
    ],
)
def test_keyword_handler_takes_its_words_and_sets_its_option(
    config: SSHClientConfig, keyword: str, option: str, value: str
) -> None:
    name, handler = SSHClientConfig._handlers[keyword]
    words = [value]
    handler(config, name, words)
    assert (name, words) == (option, []), USED_BY
    assert config.get(option) is not None, USED_BY


def test_host_handler_sets_whether_the_block_applies(config: SSHClientConfig) -> None:
    _, handler = SSHClientConfig._handlers["host"]
    handler(config, "Host", ["other"])
    assert config._matching is False, USED_BY
    handler(config, "Host", ["node*"])
    assert config._matching is True, USED_BY


@pytest.mark.parametrize(
    ("words", "applies"),
    [
        (["all"], True),
        (["!all"], False),
        (["host", "node0"], True),
        (["originalhost", "other"], False),
        (["user", "me", "localuser", "me"], True),
        (["exec", "false"], False),
    ],
)
def test_match_takes_all_words_and_sets_whether_the_block_applies(
    config: SSHClientConfig, words: list[str], applies: bool
) -> None:
    config._match("Match", words)
    assert (config._matching, words) == (applies, []), USED_BY


def test_handler_with_an_invalid_value_raises_an_expected_error(
    config: SSHClientConfig,
) -> None:
    with pytest.raises(ConfigParseError):
        SSHClientConfig._handlers["identitiesonly"][1](config, "IdentitiesOnly", ["perhaps"])


def test_patterns_match_names_and_networks() -> None:
    """As remote/ssh/match_conditions.py and remote/ssh/algorithms.py use them."""
    assert WildcardPattern("aes*-ctr").matches("aes128-ctr")
    assert WildcardPatternList("sh*,!shell").matches("short")
    assert not WildcardPatternList("sh*,!shell").matches("shell")
    networks = HostPatternList("10.0.0.0/8")
    assert networks.matches("", "10.1.2.3", ip_address("10.1.2.3"))
    assert not networks.matches("", "192.0.2.1", ip_address("192.0.2.1"))


def test_algorithm_tables_are_lists_of_bytes() -> None:
    """As remote/ssh/algorithms.py reads them."""
    from asyncssh import encryption, kex, mac, public_key

    for table in (
        encryption.get_encryption_algs, encryption.get_default_encryption_algs,
        kex.get_kex_algs, kex.get_default_kex_algs,
        mac.get_mac_algs, mac.get_default_mac_algs,
        public_key.get_public_key_algs, public_key.get_default_public_key_algs,
        public_key.get_default_certificate_algs,
    ):  # fmt: skip
        names = table()
        assert names and all(isinstance(name, bytes) for name in names), table.__qualname__
