"""The hosts that ssh_config names: with included files, by pattern, and as `ssh -G` counts them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.errors import InventoryError
from orchestrator.inventory import load
from orchestrator.inventory.ssh_config_hosts import host_lines
from tests.ssh_home import be_at_home

CONFIG = """\
Include conf.d/*
Host bastion gate.example.org
  User jump
Host gpu* !gpu9
  Include inner
Host gpu1 "gpu 2" gpu9
Host *.lan login?
  User lan
Host=BASTION fd00::17 10.0.0.7
Match host other
  User other
Host *
  User all
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    be_at_home(monkeypatch, tmp_path)
    (tmp_path / ".ssh" / "conf.d").mkdir(parents=True)
    (tmp_path / ".ssh" / "conf.d" / "10-a").write_text("Host first\n  HostName 10.0.0.1\n")
    (tmp_path / ".ssh" / "inner").write_text("Host gpu3 gpu9 cpu1\n")
    (tmp_path / ".ssh" / "config").write_text(CONFIG)
    return tmp_path


def names(source: str) -> list[str]:
    return [host.address for host in load(source).hosts]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", "first bastion gate.example.org gpu3 gpu1 gpu9 fd00::17 10.0.0.7"),
        ("gpu*", "gpu3 gpu1 gpu9"),
        ("gpu?,first", "first gpu3 gpu1 gpu9"),
        ("gpu*,!gpu9", "gpu3 gpu1"),
        ("bastion", "bastion"),
    ],
)
def test_concrete_names_are_hosts_in_order_once_each(pattern: str, expected: str) -> None:
    assert names(f"ssh_config:{pattern}") == expected.split()


def test_name_that_orch_does_not_take_is_left_out_with_a_note() -> None:
    notes: list[str] = []
    found = load("ssh_config:", notes.append)
    assert "ssh_config:: left out 'gpu 2': not a name that orch takes" in notes
    assert [host.name for host in found.hosts if ":" in host.address] == ["node7"]
    assert all(host.user is None for host in found.hosts)


def test_file_itself_is_read_and_another_is_refused(home: Path) -> None:
    assert names(f"{home}/.ssh/config") == names("ssh_config:")
    other = home / "other"
    other.write_text("Host a\n  HostName 10.0.0.1\n")
    with pytest.raises(InventoryError, match="not by this file") as caught:
        load(str(other))
    assert f"Include {other}" in str(caught.value)
    with pytest.raises(InventoryError, match="not by this file"):
        load("ssh_config:/nowhere/config")


@pytest.mark.parametrize(
    ("text", "pattern", "words"),
    [
        ("Host *\n", "", "names no host"),
        (
            "Host a1 a2\n",
            "a1x",
            "none of the 2 hosts in ~/.ssh/config matches 'a1x'; did you mean a1?",
        ),
        ("Host a1 a2\n", "b*", "matches 'b*'; such as a1, a2"),
        ("Host a\nUser\n", "", "config:2: expected a keyword and its value"),
        ('Host "a\n', "", "config:1: a quote is not closed"),
        ("Include config\n", "", "too many files include each other"),
    ],
)
def test_what_names_no_host_is_refused(home: Path, text: str, pattern: str, words: str) -> None:
    (home / ".ssh" / "config").write_text(text)
    with pytest.raises(InventoryError) as caught:
        load(f"ssh_config:{pattern}")
    assert words in str(caught.value)


def test_without_a_file_there_is_no_host(home: Path) -> None:
    (home / ".ssh" / "config").unlink()
    with pytest.raises(InventoryError, match="names no host"):
        load("ssh_config:")


@pytest.mark.skipif(shutil.which("ssh") is None, reason="needs ssh")
def test_lines_apply_to_the_hosts_to_which_ssh_applies_them(home: Path) -> None:
    hosts = [
        "first",
        "bastion",
        "gpu1",
        "gpu3",
        "gpu9",
        "cpu1",
        "a.lan",
        "login1",
        "BASTION",
        "none",
    ]
    lines = host_lines()
    for host in hosts:
        ours = [match for line in lines if (match := line.match(host)) is not None]
        config = home / ".ssh" / "config"
        printed = subprocess.run(
            ["ssh", "-vvG", "-F", str(config), host],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stderr
        theirs = [
            line.rpartition("Applying options for ")[2]
            for line in printed.splitlines()
            if "Applying options for " in line
        ]
        assert [each for each in ours if each != "*"] == [each for each in theirs if each != "*"], (
            host
        )
