"""Which keys are offered, in which order, and which are named as left out."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.remote.identities import KeyFiles
from orchestrator.remote.ssh_config import Target

TARGET = Target(label="n", hostname="n", port=22, user="me")


async def test_the_default_files_that_exist(home: Path, keygen: Callable[..., Path]) -> None:
    keygen(home / ".ssh" / "id_ecdsa", "ecdsa")
    keygen(home / ".ssh" / "id_ed25519")
    offer = await KeyFiles().offer(TARGET, None)
    assert offer.names == ("~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")
    assert offer.left_out == ()


async def test_named_files_replace_the_default_ones(
    home: Path, tmp_path: Path, keygen: Callable[..., Path]
) -> None:
    keygen(home / ".ssh" / "id_ed25519")
    named = str(keygen(tmp_path / "named"))
    offer = await KeyFiles().offer(replace(TARGET, identity_files=(named,)), None)
    assert offer.names == (named,)


async def test_a_file_that_cannot_be_used_is_named_with_the_reason(
    home: Path, tmp_path: Path, keygen: Callable[..., Path]
) -> None:
    locked = str(keygen(tmp_path / "locked", "ed25519", "secret"))
    (tmp_path / "garbage").write_text("not a key")
    files = (locked, str(tmp_path / "missing"), str(tmp_path / "garbage"))
    offer = await KeyFiles().offer(replace(TARGET, identity_files=files), None)
    assert offer.pairs == ()
    assert [file.path for file in offer.left_out] == list(files)
    assert [file.problem for file in offer.left_out][:2] == ["encrypted", "missing"]
    assert offer.left_out[2].problem


async def test_a_certificate_beside_a_key_is_offered_first(
    home: Path, tmp_path: Path, keygen: Callable[..., Path]
) -> None:
    key, authority = keygen(home / ".ssh" / "id_ed25519"), keygen(tmp_path / "ca")
    sign(authority, key)
    offer = await KeyFiles().offer(TARGET, None)
    assert [pair.has_cert for pair in offer.pairs] == [True, False]


async def test_a_file_is_read_once_for_many_nodes(
    home: Path, keygen: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    keygen(home / ".ssh" / "id_ed25519")
    files = KeyFiles()
    first = await files.offer(TARGET, None)
    monkeypatch.setattr("asyncssh.load_keypairs", lambda *_: pytest.fail("read again"))
    second = await files.offer(TARGET, None)
    assert first.names == second.names
    assert first.pairs[0] is not second.pairs[0]  # each connection marks its own


def sign(authority: Path, key: Path) -> None:
    command = ["ssh-keygen", "-q", "-s", str(authority), "-I", "me", "-n", "me", f"{key}.pub"]
    subprocess.run(command, check=True, capture_output=True)
