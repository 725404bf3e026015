"""Pools of SkyPilot: users and keys by pool and host, and hosts for which ssh_config counts instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import InventoryError
from orchestrator.inventory import load, select
from tests.ssh_home import be_at_home

POOLS = """\
# machines of ours
gpu-box:
  user: ubuntu
  identity_file: ~/.ssh/key
  hosts:
    - 10.0.0.1
    - ip: 10.0.0.2
      user: alt
    - ip: known
      user: ignored
    - {ip: fd00::17, identity_file: ''}
    - star.lan
more:
  hosts: [10.0.0.9]
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    be_at_home(monkeypatch, tmp_path)
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text(
        "Host known\n  User me\nHost *.lan\n  User lan\nHost *\n"
    )
    (tmp_path / ".sky").mkdir()
    (tmp_path / ".sky" / "ssh_node_pools.yaml").write_text(POOLS)
    return tmp_path


def refusal(text: str, home: Path) -> str:
    path = home / "p.yaml"
    path.write_text(text)
    with pytest.raises(InventoryError) as caught:
        load(f"sky:{path}")
    return str(caught.value).replace(f"{home}/", "")


def test_file_is_recognised_and_each_pool_is_a_group(home: Path) -> None:
    notes: list[str] = []
    path = str(home / ".sky" / "ssh_node_pools.yaml")
    found = load(path, notes.append)
    assert notes == [f"{path}: read as SSH node pools of SkyPilot"]
    key = str(home / ".ssh" / "key")
    assert [(host.name, host.address, host.user, host.identity_file) for host in found.hosts] == [
        ("10.0.0.1", "10.0.0.1", "ubuntu", key),
        ("10.0.0.2", "10.0.0.2", "alt", key),
        ("known", "known", None, None),
        ("node3", "fd00::17", "ubuntu", None),
        ("star.lan", "star.lan", "ubuntu", key),
        ("10.0.0.9", "10.0.0.9", None, None),
    ]
    assert [host.name for host in select(found, "more").hosts] == ["10.0.0.9"]


def test_pool_is_selected_by_name() -> None:
    assert [host.name for host in load("sky:more").hosts] == ["10.0.0.9"]
    assert len(load("sky:").hosts) == 6
    with pytest.raises(InventoryError, match=r"has no pool 'mroe'; did you mean more\?"):
        load("sky:mroe")


def test_missing_file_of_skypilot_is_named(home: Path) -> None:
    (home / ".sky" / "ssh_node_pools.yaml").unlink()
    with pytest.raises(InventoryError, match=r"there is no ~/\.sky/ssh_node_pools\.yaml"):
        load("sky:pool")


def test_password_for_sudo_is_left_out_with_a_note(home: Path) -> None:
    notes: list[str] = []
    path = home / "p.yaml"
    path.write_text("p:\n  password: Hidden\n  hosts: [a]\n")
    found = load(str(path), notes.append)
    assert "password is left out" in notes[-1]
    assert "Hidden" not in repr((found, notes))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("p:\n  hosts: []\n", "p.yaml:2:10: p.hosts: expected a list of hosts; found a list"),
        ("p:\n  user: a\n", "p.yaml:2:3: p.hosts: expected a list of hosts; found nothing"),
        ("p:\n  hosts:\n  - user: a\n", "p.yaml:3:5: p.hosts[0]: missing: ip"),
        ("p:\n  hosts:\n  - [a]\n", "p.yaml:3:5: p.hosts[0]: expected a host; found a list"),
        ("p:\n  hosts: [a]\np:\n", "p.yaml:3:1: p: duplicate key"),
        ("p:\n  hosts: [a]\n  port: 22\n", "p.yaml:3:3: p.port: unknown key"),
        ("p:\n  hosts: [a b]\n", "p.yaml:2:11: p.hosts[0]: expected a host name"),
        ("p:\n  hosts: [{ip: a, user: 'x y'}]\n", "p.yaml:2:25: p.hosts[0]: expected a login name"),
        (
            "p:\n  hosts: [a]\nq:\n  user: b\n  hosts: [A]\n",
            "p.yaml:5:11: q.hosts[0]: the host 'A' is listed",
        ),
        ("[a]\n", "p.yaml:1:1"),
        ("", "p.yaml:1:1: the file is empty"),
    ],
)
def test_broken_file_is_refused_with_lines(text: str, words: str, home: Path) -> None:
    assert words in refusal(text, home)
