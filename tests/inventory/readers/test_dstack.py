"""SSH fleets of dstack: values for all hosts and for one, gateways, addresses in the private network."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import InventoryError
from orchestrator.inventory import Inventory, load

FLEET = """\
type: fleet
name: ours
placement: cluster
ssh_config:
  user: ubuntu
  port: 2222
  identity_file: /keys/id
  proxy_jump: {hostname: gate, user: jump, port: 22, identity_file: /keys/gate}
  hosts:
    - 10.0.0.1
    - hostname: node1.lan
      user: root
      port: 22
      internal_ip: 192.168.1.2
      blocks: 4
    - {hostname: fd00::17, proxy_jump: {hostname: other, user: me, identity_file: /keys/gate}}
"""


def read(text: str, tmp_path: Path, notes: list[str]) -> Inventory:
    (tmp_path / "fleet.dstack.yml").write_text(text)
    return load(str(tmp_path / "fleet.dstack.yml"), notes.append)


def test_values_of_a_host_take_precedence_over_those_of_all(tmp_path: Path) -> None:
    notes: list[str] = []
    found = read(FLEET, tmp_path, notes)
    path = tmp_path / "fleet.dstack.yml"
    assert notes[0] == f"{path}: read as an SSH fleet of dstack"
    assert "the gateway's key is left out: ssh-add /keys/gate" in notes[1]
    assert [host.model_dump(exclude_defaults=True) for host in found.hosts] == [
        {
            "name": "10.0.0.1",
            "address": "10.0.0.1",
            "user": "ubuntu",
            "port": 2222,
            "identity_file": "/keys/id",
            "proxy_jump": "jump@gate:22",
        },
        {
            "name": "node1.lan",
            "address": "node1.lan",
            "user": "root",
            "port": 22,
            "identity_file": "/keys/id",
            "proxy_jump": "jump@gate:22",
            "internal_address": "192.168.1.2",
        },
        {
            "name": "node2",
            "address": "fd00::17",
            "user": "ubuntu",
            "port": 2222,
            "identity_file": "/keys/id",
            "proxy_jump": "me@other",
        },
    ]


def test_ports_of_one_address_are_machines_of_their_own(tmp_path: Path) -> None:
    hosts = "".join(f"  - {{hostname: nat, port: {port}}}\n" for port in (2201, 2202))
    found = read(f"type: fleet\nssh_config:\n  hosts:\n{hosts}", tmp_path, [])
    assert [host.name for host in found.hosts] == ["nat-2201", "nat-2202"]


def test_address_in_the_network_is_the_internal_one(tmp_path: Path) -> None:
    notes: list[str] = []
    text = "type: fleet\nssh_config:\n  network: 10.0.0.0/24\n  hosts: [10.0.0.1, outside]\n"
    found = read(text, tmp_path, notes)
    assert [host.internal_address for host in found.hosts] == ["10.0.0.1", None]
    assert any("the network '10.0.0.0/24' is left to orch's choice" in note for note in notes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("type: fleet\nnodes: 4\n", "yml:1:1: ssh_config: missing: dstack creates the machines"),
        ("type: fleet\nssh_config: {hosts: []}\n", "yml:2:21: ssh_config.hosts: expected a list"),
        (
            "type: fleet\nssh_config: {hosts: [{port: 1}]}\n",
            "ssh_config.hosts[0].hostname: missing",
        ),
        (
            "type: fleet\nssh_config:\n  hosts: [a, a]\n",
            "yml:3:10: ssh_config.hosts: the host 'a' is listed 2",
        ),
        (
            "type: fleet\nssh_config:\n  hosts: [{hostname: a, ssh_key: x}]\n",
            "hosts[0].ssh_key: unknown key",
        ),
        (
            "type: fleet\nssh_config:\n  hosts: [{hostname: a, port: x}]\n",
            "yml:3:31: ssh_config.hosts[0]: expected a",
        ),
        (
            "type: fleet\nssh_config:\n  proxy_jump: {hostname: g}\n  hosts: [a]\n",
            "yml:3:15: ssh_config.hosts[0].proxy_jump.user: missing",
        ),
    ],
)
def test_broken_file_is_refused_with_lines(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InventoryError) as caught:
        read(text, tmp_path, [])
    assert words in str(caught.value)
