"""Which keys are offered, in which order, and which are reported as left out."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.remote.ssh.config import Target
from orchestrator.remote.ssh.identities import KeyFiles, Offer, find_security_key

PRIVATE = asyncssh.generate_private_key("ssh-ed25519").export_private_key()
TARGET = Target(label="n", hostname="n", port=22, user="me")


async def test_offer_by_default_has_the_existing_default_files(
    home: Path, keygen: Callable[..., Path]
) -> None:
    keygen(home / ".ssh" / "id_ecdsa", "ecdsa")
    keygen(home / ".ssh" / "id_ed25519")
    offer = await KeyFiles().offer(TARGET, None)
    assert offer.names == ("~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")
    assert offer.left_out == ()


async def test_offer_with_named_files_omits_the_default_files(
    home: Path, tmp_path: Path, keygen: Callable[..., Path]
) -> None:
    keygen(home / ".ssh" / "id_ed25519")
    named = str(keygen(tmp_path / "named"))
    offer = await KeyFiles().offer(replace(TARGET, identity_files=(named,)), None)
    assert offer.names == (named,)


async def test_unusable_file_is_reported_with_the_reason(
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


async def test_certificate_next_to_a_key_is_offered_first(
    home: Path, tmp_path: Path, keygen: Callable[..., Path]
) -> None:
    key, authority = keygen(home / ".ssh" / "id_ed25519"), keygen(tmp_path / "ca")
    sign(authority, key)
    offer = await KeyFiles().offer(TARGET, None)
    assert [pair.has_cert for pair in offer.pairs] == [True, False]


async def test_key_file_is_read_once_for_many_nodes(
    home: Path, keygen: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    keygen(home / ".ssh" / "id_ed25519")
    files = KeyFiles()
    first = await files.offer(TARGET, None)
    monkeypatch.setattr("asyncssh.load_keypairs", lambda *_: pytest.fail("read again"))
    second = await files.offer(TARGET, None)
    assert first.names == second.names
    assert first.pairs[0] is not second.pairs[0]  # each connection modifies its own


def sign(authority: Path, key: Path) -> None:
    command = ["ssh-keygen", "-q", "-s", str(authority), "-I", "me", "-n", "me", f"{key}.pub"]
    subprocess.run(command, check=True, capture_output=True)


async def test_key_path_that_is_not_a_regular_file_is_left_out_at_once(
    home: Path, tmp_path: Path, keygen: Callable[..., Path]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    good = keygen(tmp_path / "good")
    os.mkfifo(tmp_path / "good-cert.pub")
    (tmp_path / "huge").write_bytes(b"x" * ((1 << 20) + 1))
    (tmp_path / "regex").write_text("-----BEGIN (PRIVATE KEY-----\nAAAA\n")
    files = [str(tmp_path / name) for name in ("pipe", "", "huge", "regex", "a\0b")]
    files += [str(good), "/dev/zero"]
    offer = await KeyFiles().offer(replace(TARGET, identity_files=tuple(files)), None)
    assert offer.pairs == ()
    assert [file.problem for file in offer.left_out] == [
        "not a file",
        "not a file",
        "over 1,048,576 bytes",
        "not a key",
        "embedded null byte",
        f"{good}-cert.pub: not a file",
        "not a file",
    ]


async def test_certificate_that_is_a_pipe_does_not_block(
    home: Path, tmp_path: Path, keygen: Callable[..., Path]
) -> None:
    os.mkfifo(tmp_path / "cert")
    keygen(home / ".ssh" / "id_ed25519")
    target = replace(TARGET, certificate_files=(str(tmp_path / "cert"),))
    offer = await KeyFiles().offer(target, None)
    assert offer.names == ("~/.ssh/id_ed25519",)


async def test_silent_agent_is_left_out(
    home: Path, tmp_path: Path, keygen: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.remote.ssh.identities._AGENT_ANSWERS_WITHIN", 0.1)
    keygen(home / ".ssh" / "id_ed25519")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "agent"))
        silent.listen()
        agent = asyncssh.SSHAgentClient(str(tmp_path / "agent"))
        offer = await KeyFiles().offer(TARGET, agent)
        agent.close()
    assert offer.names == ("~/.ssh/id_ed25519",)
    assert offer.agent_problem == "no answer within 0.1 s"


@given(st.binary(max_size=80), st.integers(0, 500))
def test_key_file_with_any_bytes_is_loaded_or_left_out(noise: bytes, at: int) -> None:
    whole = PRIVATE[:at] + noise + PRIVATE[at + len(noise) :]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "key")
        file.write_bytes(whole)
        loaded = KeyFiles().load(str(file), (str(file),))
    assert loaded.pairs or loaded.problem
    assert (loaded.problem or "").isprintable()


class _Agent:
    """An agent with these keys."""

    def __init__(self, *keys: asyncssh.SSHKey) -> None:
        self._pairs = [pair for key in keys for pair in asyncssh.load_keypairs(key)]

    async def get_keys(self) -> list[asyncssh.SSHKeyPair]:
        return self._pairs


async def test_identities_only_without_files_offers_the_default_files_only(
    home: Path, keygen: Callable[..., Path]
) -> None:
    keygen(home / ".ssh" / "id_ed25519")
    agent: Any = _Agent(asyncssh.generate_private_key("ssh-ed25519"))
    offer = await KeyFiles().offer(replace(TARGET, identities_only=True), agent)
    assert offer.names == ("~/.ssh/id_ed25519",)


async def test_identity_file_none_omits_the_default_files(
    home: Path, keygen: Callable[..., Path]
) -> None:
    keygen(home / ".ssh" / "id_ed25519")
    offer = await KeyFiles().offer(replace(TARGET, identity_files=("none",)), None)
    assert offer == Offer((), (), ())


async def test_certificate_on_disk_is_offered_with_the_key_of_the_agent(
    home: Path, tmp_path: Path, keygen: Callable[..., Path]
) -> None:
    key, authority = keygen(tmp_path / "key"), keygen(tmp_path / "ca")
    sign(authority, key)
    agent: Any = _Agent(asyncssh.read_private_key(str(key)))
    key.unlink()
    certificate = f"{key}-cert.pub"
    offer = await KeyFiles().offer(replace(TARGET, certificate_files=(certificate,)), agent)
    assert [pair.has_cert for pair in offer.pairs] == [True, False]
    target = replace(TARGET, identity_files=(str(key),), identities_only=True)
    offer = await KeyFiles().offer(target, agent)
    assert offer.names == (f"{key} (agent, certificate)", f"{key} (agent)")


def test_find_security_key_names_the_file_whose_public_half_says_so(home: Path) -> None:
    target = Target("n", "n", 22, "me")
    (home / ".ssh/id_ed25519.pub").write_text("ssh-ed25519 AAAA me\n")
    assert find_security_key(target) is None
    (home / ".ssh/id_ecdsa_sk.pub").write_text("sk-ecdsa-sha2-nistp256@openssh.com AAAA me\n")
    assert find_security_key(target) == "~/.ssh/id_ecdsa_sk"
    assert find_security_key(replace(target, identity_files=("/none",))) is None
