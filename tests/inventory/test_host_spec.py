"""Hosts in an inventory as `[user@]host[:port]`."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import InventoryError
from orchestrator.inventory import Host
from orchestrator.inventory.readers.orch_yaml import parse


def hosts_of(text: str) -> tuple[Host, ...]:
    return parse(text, Path("hosts.yaml")).hosts


def test_user_and_port_apply_to_their_host() -> None:
    found = hosts_of("hosts: [root@node0, node1:2222, me@10.0.0.3:22, node4]")
    assert [(host.name, host.address, host.user, host.port) for host in found] == [
        ("node0", "node0", "root", None),
        ("node1", "node1", None, 2222),
        ("10.0.0.3", "10.0.0.3", "me", 22),
        ("node4", "node4", None, None),
    ]


def test_user_and_port_override_defaults_and_leave_other_settings() -> None:
    first, second = hosts_of(
        "defaults: {user: ubuntu, port: 2222, python: /opt/py}\nhosts: [root@node0, 'node1:22']"
    )
    assert (first.user, first.port, first.python) == ("root", 2222, "/opt/py")
    assert (second.user, second.port) == ("ubuntu", 22)


def test_ranges_and_commas_are_expanded() -> None:
    found = hosts_of("hosts: ['root@gpu[01-02],cpu[0,2]:2222']")
    assert [(host.name, host.user, host.port) for host in found] == [
        ("gpu01", "root", None),
        ("gpu02", "root", None),
        ("cpu0", None, 2222),
        ("cpu2", None, 2222),
    ]


def test_ipv6_address_gets_a_name() -> None:
    found = hosts_of("hosts: [node0, 'fd00::17', 'me@[fd00::18]:2222']")
    assert [(host.name, host.address, host.user, host.port) for host in found] == [
        ("node0", "node0", None, None),
        ("node1", "fd00::17", None, None),
        ("node2", "fd00::18", "me", 2222),
    ]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("node0:ssh", r"hosts.yaml:2:5: hosts\[0\].port: expected a port.*'ssh'"),
        ("-x@node0", r"hosts.yaml:2:5: hosts\[0\].user: expected a login name"),
        ("$(id)@node0", "expected a login name"),
        ("a@b@node0", "expected a host name.*'b@node0'"),
        ("[fd00::1]x", r"hosts.yaml:2:5: hosts\[0\]: expected a host, as in node0"),
        ("root@bad!host", r"hosts.yaml:2:5: hosts\[0\]: expected a host name.*'bad!host'"),
        ("root@", "expected a host name"),
        ("root@node[3-1]", "expected ranges to count upwards"),
    ],
)
def test_invalid_host_is_refused_with_its_position(word: str, message: str) -> None:
    with pytest.raises(InventoryError, match=message):
        hosts_of(f"hosts:\n  - '{word}'\n")


def test_same_host_with_two_users_is_a_duplicate() -> None:
    with pytest.raises(InventoryError, match="duplicate name 'node0'"):
        hosts_of("hosts: [root@node0, me@node0]")
