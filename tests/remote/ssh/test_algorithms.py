"""Algorithm lists have the same meaning as for ssh; those asyncssh lacks are left out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.remote.ssh.algorithms import algorithms
from orchestrator.remote.ssh.config import Target
from orchestrator.remote.ssh.host_keys import Known

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
