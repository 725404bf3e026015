"""Connections accept only known host keys; failures have a remedy."""

from __future__ import annotations

import socket

import pytest
from paramiko import AuthenticationException, RejectPolicy, SSHException

from orchestrator.inventory import Host
from orchestrator.provision.connection import CONNECT_TIMEOUT, connect_problem, connection, hops

HOST = Host(name="node0", address="198.18.0.1", user="ann", port=2222)


@pytest.mark.parametrize("jump", [None, "me@first,second:2222"])
def test_no_hop_accepts_an_unknown_host_key(jump: str | None) -> None:
    found = list(hops(connection(HOST.model_copy(update={"proxy_jump": jump}))))
    assert len(found) == (3 if jump else 1)
    for hop in found:
        assert isinstance(hop.client._policy, RejectPolicy)
        assert hop.connect_timeout == CONNECT_TIMEOUT


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (AuthenticationException("no"), "ssh-copy-id ann@198.18.0.1"),
        (socket.gaierror(-2, "no"), "does not resolve"),
        (TimeoutError(), "no answer within"),
        (
            SSHException("Server '198.18.0.1' not found in known_hosts"),
            "ssh -p 2222 ann@198.18.0.1",
        ),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (EOFError(), "EOFError"),
    ],
)
def test_failed_connection_has_a_remedy(error: Exception, part: str) -> None:
    assert part in connect_problem(HOST, error)
