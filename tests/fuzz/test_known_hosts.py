"""Any known_hosts file gives the keys of a host, or is Unreadable."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given

from orchestrator.remote.ssh.algorithms import algorithms
from orchestrator.remote.ssh.config import Target
from orchestrator.remote.ssh.connections import _keys
from orchestrator.remote.ssh.host_keys import KnownHosts
from orchestrator.util.bounded_read import Unreadable

from .readers import contents, corpus, outcome, special_files

KEY = b"AAAAC3NzaC1lZDI1NTE5AAAA"
PIECES = (b"n ", b"ssh-ed25519 ", KEY, b"\n", b"@revoked ", b"@cert-authority ", b"*", b"?", b"!")
MORE = (b"|1|", b"AA==", b"|", b",", b"[n]:2222 ", b"\0", b"\xff", b"#", b"\r", b"=")
TARGET = Target(label="n", hostname="n", port=22, user="me")


def read(file: Path) -> None:
    for name, port in (("n", 22), ("n", 2222), ("a" * 253, 22), ("\udcff", 22)):
        known = outcome(
            lambda name=name, port=port: KnownHosts().look_up(name, port, [str(file)]),  # type: ignore[misc]
            Unreadable,
        )
        assert known is not None  # a file of this size can be read
        for entry in (*known.keys, *known.authorities, *known.revoked, *known.elsewhere):
            assert entry.fingerprint.isprintable()
            assert entry.where.startswith(str(file))
        algorithms(TARGET, known)
        _keys(known.revoked)
        assert known.instead_of(b"") is None or known.keys


@pytest.mark.parametrize("file", corpus("known_hosts"), ids=lambda file: file.name)
def test_file_of_the_corpus_gives_keys_or_none(file: Path) -> None:
    read(file)


@given(contents("known_hosts", *PIECES, *MORE))
def test_any_bytes_give_keys_or_none(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "known_hosts"
    file.write_bytes(content)
    read(file)


def test_special_files_are_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.remote.ssh.host_keys._READ_TIMEOUT", 0.05)
    for thing in special_files(tmp_path / "d"):
        outcome(lambda thing=thing: KnownHosts().look_up("n", 22, [str(thing)]), Unreadable)  # type: ignore[misc]
