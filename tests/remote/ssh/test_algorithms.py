"""Algorithm lists have the same meaning as for ssh; those asyncssh lacks are left out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.remote.ssh.algorithms import algorithms
from orchestrator.remote.ssh.config import Target
from orchestrator.remote.ssh.host_keys import Entry, Known

TARGET = Target(label="n", hostname="n", port=22, user="me")
UNKNOWN = Known((), (), (), ())


def test_algorithms_by_default_prefer_fast_ciphers() -> None:
    assert algorithms(TARGET, UNKNOWN)["encryption_algs"][0] == "aes128-gcm@openssh.com"


@pytest.mark.parametrize(
    ("ciphers", "first", "count"),
    [
        ("aes256-ctr", "aes256-ctr", 1),
        ("aes256-ctr,of-the-future", "aes256-ctr", 1),
        ("^aes256-ctr", "aes256-ctr", None),
        ("-chacha20*", "aes256-gcm@openssh.com", None),
    ],
)
def test_algorithms_with_ciphers_in_ssh_config_use_those(
    ciphers: str, first: str, count: int | None
) -> None:
    chosen = algorithms(replace(TARGET, ciphers=ciphers), UNKNOWN)["encryption_algs"]
    assert chosen[0] == first
    assert count in (None, len(chosen))
    assert len(set(chosen)) == len(chosen)


def test_algorithms_without_known_authority_have_no_certificates() -> None:
    names = algorithms(TARGET, UNKNOWN)["server_host_key_algs"]
    assert names
    assert not any("-cert-" in name for name in names)


@pytest.mark.parametrize("configured", [None, "+ssh-rsa", "ssh-ed25519,rsa-sha2-512"])
def test_algorithm_of_a_known_key_is_first_with_any_list(configured: str | None) -> None:
    blob = len(b"ssh-rsa").to_bytes(4, "big") + b"ssh-rsa"
    known = Known((Entry("f", 1, "", "n", blob),), (), (), ())
    target = replace(TARGET, host_key_algorithms=configured)
    names = algorithms(target, known)["server_host_key_algs"]
    assert names[0] == "rsa-sha2-512"
    assert "ssh-ed25519" in names


def test_certificates_are_not_asked_for_if_they_are_not_wanted() -> None:
    authority = Entry("f", 1, "cert-authority", "n", b"")
    known = Known((), (authority,), (), ())
    target = replace(TARGET, host_key_algorithms="*")
    assert "-cert-" in algorithms(target, known)["server_host_key_algs"][0]
    names = algorithms(target, known, certificates=False)["server_host_key_algs"]
    assert not any("-cert-" in name for name in names)
