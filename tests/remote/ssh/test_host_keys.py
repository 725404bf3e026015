"""Entries of known_hosts files for a host, in every form that ssh supports."""

from __future__ import annotations

import os
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.remote.ssh.host_keys import Known, KnownHosts, fingerprint
from orchestrator.util.bounded_read import Unreadable
from orchestrator.util.ssh_patterns import matches

KEY = asyncssh.generate_private_key("ssh-ed25519")
OTHER = asyncssh.generate_private_key("ssh-ed25519")
RSA = asyncssh.generate_private_key("ssh-rsa", key_size=2048)


def public(key: asyncssh.SSHKey) -> str:
    return " ".join(key.export_public_key().decode().split()[:2])


def look_up(tmp_path: Path, text: str, name: str, port: int = 22) -> Known:
    file = tmp_path / "known_hosts"
    file.write_text(text)
    return KnownHosts().look_up(name, port, [str(file)])


@pytest.mark.parametrize(
    ("hosts", "name", "port", "known"),
    [
        ("node0", "node0", 22, True),
        ("node0", "NODE0", 22, True),
        ("node0,10.0.0.1", "10.0.0.1", 22, True),
        ("node0", "node1", 22, False),
        ("[node0]:2222", "node0", 2222, True),
        ("[node0]:2222", "node0", 22, False),
        ("[node0]:2222", "node0", 2223, False),
        ("node0", "node0", 2222, True),
        ("*.lan", "node0.lan", 22, True),
        ("*.lan,!bad.lan", "bad.lan", 22, False),
        ("!bad.lan,*.lan", "bad.lan", 22, False),
        ("node?", "node0", 22, True),
        ("[*.lan]:2222", "a.lan", 2222, True),
        ("fe80::1", "fe80::1", 22, True),
    ],
)
def test_look_up_matches_names_ports_and_patterns(
    tmp_path: Path, hosts: str, name: str, port: int, known: bool
) -> None:
    found = look_up(tmp_path, f"# comment\n\n{hosts} {public(KEY)} someone@there\n", name, port)
    assert found.trusts(KEY.public_data) is known


def test_look_up_finds_names_hashed_by_ssh_keygen(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"node0 {public(KEY)}\n[node1]:2222 {public(OTHER)}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
    assert "node" not in file.read_text()
    known = KnownHosts()
    assert known.look_up("node0", 22, [str(file)]).trusts(KEY.public_data)
    assert known.look_up("node1", 2222, [str(file)]).trusts(OTHER.public_data)
    assert not known.look_up("node2", 22, [str(file)]).keys


def test_changed_key_is_reported_with_file_and_line_of_the_same_type(tmp_path: Path) -> None:
    known = look_up(tmp_path, f"n {public(RSA)}\nn {public(KEY)}\n", "n")
    entry = known.instead_of(OTHER.public_data)
    assert entry is not None
    assert entry.where == f"{tmp_path}/known_hosts:2"
    assert entry.fingerprint == fingerprint(KEY.public_data)


def test_key_at_port_22_is_accepted_at_another_port_but_never_a_change(
    tmp_path: Path,
) -> None:
    known = look_up(tmp_path, f"n {public(KEY)}\n", "n", 2222)
    assert known.trusts(KEY.public_data)
    assert known.instead_of(OTHER.public_data) is None


def test_look_up_separates_authorities_and_revoked_keys(tmp_path: Path) -> None:
    text = f"@cert-authority *.lan {public(KEY)}\n@revoked * {public(OTHER)}\n"
    known = look_up(tmp_path, text, "a.lan")
    assert known.trusts_authority(KEY.public_data)
    assert not known.trusts(KEY.public_data)
    assert [entry.blob for entry in known.revoked] == [OTHER.public_data]


def test_algorithms_are_those_of_the_known_keys(tmp_path: Path) -> None:
    known = look_up(tmp_path, f"n {public(RSA)}\n", "n")
    assert known.algorithms == ("rsa-sha2-512", "rsa-sha2-256")


def test_fingerprint_is_the_same_as_from_ssh_keygen(tmp_path: Path) -> None:
    KEY.write_public_key(tmp_path / "key.pub")
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", tmp_path / "key.pub"], check=True, capture_output=True, text=True
    )
    assert fingerprint(KEY.public_data) in shown.stdout


@pytest.mark.parametrize(
    "line",
    [
        "n ssh-ed25519",
        "n ssh-ed25519 !!!",
        "@new n ssh-rsa AAAA",
        "|1|x",
        "|1|é|é OTHER",
        "|1|=|= OTHER",
        "n ssh-ed25519 \u0661OTHER",
    ],
)
def test_invalid_line_is_skipped(tmp_path: Path, line: str) -> None:
    line = line.replace("OTHER", public(OTHER))
    known = look_up(tmp_path, f"{line}\nn {public(KEY)}\n", "n")
    assert known.trusts(KEY.public_data)


@pytest.mark.parametrize("hashed", [False, True])
def test_added_key_is_found_by_ssh_keygen(tmp_path: Path, hashed: bool) -> None:
    file = tmp_path / ".ssh" / "known_hosts"
    known = KnownHosts()
    known.add("Node0", 2222, KEY, str(file), hashed=hashed)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert ("node0" in file.read_text()) is not hashed
    found = subprocess.run(
        ["ssh-keygen", "-F", "[node0]:2222", "-f", file], capture_output=True, text=True
    )
    assert public(KEY) in found.stdout
    assert known.look_up("node0", 2222, [str(file)]).trusts(KEY.public_data)


def test_add_after_a_line_without_newline_keeps_both(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"old {public(OTHER)}")
    KnownHosts().add("new", 22, KEY, str(file), hashed=False)
    assert file.read_text() == f"old {public(OTHER)}\nnew {public(KEY)}\n"


def test_concurrent_adds_leave_whole_lines_without_duplicates(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"

    def write(number: int) -> None:
        KnownHosts().add(f"node{number % 10}", 22, KEY, str(file), hashed=False)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(100)))
    assert sorted(file.read_text().splitlines()) == [f"node{i} {public(KEY)}" for i in range(10)]


def test_file_is_parsed_once_for_many_hosts(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"n {public(KEY)}\n")
    known = KnownHosts()
    known.look_up("n", 22, [str(file)])
    file.unlink()
    assert known.look_up("n", 22, [str(file)]).keys


@given(st.text("ab*?", max_size=12), st.text("ab", max_size=8))
def test_pattern_matches_the_same_as_its_regular_expression(pattern: str, host: str) -> None:
    meant = pattern.replace("*", ".*").replace("?", ".")
    assert matches(host, pattern) is (re.fullmatch(meant, host) is not None)


def test_pattern_with_many_stars_is_matched_quickly(tmp_path: Path) -> None:
    begun = time.monotonic()
    text = f"{'*a' * 200}b {public(KEY)}\n{'*' * 100_000}b {public(KEY)}\n" * 3
    assert not look_up(tmp_path, text, "a" * 253).keys
    assert time.monotonic() - begun < 30


def test_unreadable_file_is_reported_at_each_look_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.remote.ssh.host_keys._READ_TIMEOUT", 0.05)
    pipe = tmp_path / "known_hosts"
    os.mkfifo(pipe)
    known = KnownHosts()
    for _ in range(2):
        with pytest.raises(Unreadable, match=r"known_hosts file .*: nothing came within"):
            known.look_up("n", 22, [str(pipe)])
    with pytest.raises(Unreadable, match="it is a folder"):
        known.look_up("n", 22, [str(tmp_path)])
    with pytest.raises(Unreadable, match="over 67,108,864 bytes"):
        known.look_up("n", 22, ["/dev/zero"])


def test_add_writes_to_regular_files_only(tmp_path: Path) -> None:
    pipe = tmp_path / "known_hosts"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="it is not a file"):
        KnownHosts().add("n", 22, KEY, str(pipe), hashed=False)
    KnownHosts().add("n", 22, KEY, os.devnull, hashed=False)
    assert KnownHosts().look_up("n", 22, [os.devnull]).keys == ()


def test_added_name_in_another_encoding_is_found(tmp_path: Path) -> None:
    file = str(tmp_path / "known_hosts")
    KnownHosts().add("j\udcf6rg", 22, KEY, file, hashed=False)
    KnownHosts().add("j\udcf6rg", 22, OTHER, file, hashed=True)
    found = KnownHosts().look_up("j\udcf6rg", 22, [file])
    assert {entry.blob for entry in found.keys} == {KEY.public_data, OTHER.public_data}
