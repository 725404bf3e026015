"""Which keys to offer to a node: key files and the agent's, loaded once for all nodes.

Nothing here ever asks a person: an encrypted key that the agent does not hold is left out and
named, so that the error can say what to do.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from orchestrator.remote.ssh_config import Target
from orchestrator.remote.text import printable

# ssh's own defaults (ssh_config(5), IdentityFile).
_DEFAULT_NAMES = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk")


@dataclass(frozen=True)
class KeyFile:
    """A private key file: its key pairs, or why there are none; its public half if known."""

    path: str
    pairs: tuple[asyncssh.SSHKeyPair, ...]
    public: bytes | None
    problem: str | None  # "missing", "encrypted", or why it cannot be read

    @property
    def shown(self) -> str:
        """The path as a person writes it."""
        home = f"{Path.home()}/"
        return f"~/{self.path.removeprefix(home)}" if self.path.startswith(home) else self.path


@dataclass(frozen=True)
class Offer:
    """The key pairs to offer, in order, with names for a message; and the files left out."""

    pairs: tuple[asyncssh.SSHKeyPair, ...]
    names: tuple[str, ...]
    left_out: tuple[KeyFile, ...]


class KeyFiles:
    """Key files, each read once."""

    def __init__(self) -> None:
        self._loaded: dict[tuple[str, tuple[str, ...]], KeyFile] = {}

    def load(self, path: str, certificates: tuple[str, ...]) -> KeyFile:
        """Return the key file at `path`, paired with any of the `certificates` files."""
        key = (path, certificates)
        if key not in self._loaded:
            self._loaded[key] = _load(path, certificates)
        return self._loaded[key]

    async def offer(self, target: Target, agent: asyncssh.SSHAgentClient | None) -> Offer:
        """Return what to offer to `target`.

        Configured identities come first (from the agent when it holds them), then the agent's
        other keys, then the default files: a full agent never uses up the server's patience
        before the key that the user named.
        """
        configured = [self.load(path, target.certificate_files) for path in target.identity_files]
        in_agent = await _agent_keys(agent)
        by_public = {pair.public_data: pair for pair in in_agent}
        pairs: list[asyncssh.SSHKeyPair] = []
        names: list[str] = []
        left_out: list[KeyFile] = []

        def take(pair: asyncssh.SSHKeyPair, name: str) -> None:
            if all(pair.public_data != taken.public_data for taken in pairs):
                # A connection marks its pairs with the signature algorithm it agreed on.
                pairs.append(copy.copy(pair))
                names.append(name)

        def take_file(file: KeyFile) -> None:
            held = by_public.get(file.public) if file.public else None
            if held is not None and not any(pair.has_cert for pair in file.pairs):
                take(held, f"{file.shown} (agent)")
            for pair in file.pairs:
                take(pair, file.shown)
            if held is None and file.problem:
                left_out.append(file)

        for file in configured:
            take_file(file)
        if not (target.identities_only and configured):
            for pair in in_agent:
                take(
                    pair,
                    f"agent key {printable(pair.get_comment_bytes() or b'', 60) or 'without name'}",
                )
        if not configured:
            ssh = Path.home() / ".ssh"
            for name in _DEFAULT_NAMES:
                if (ssh / name).exists():
                    take_file(self.load(str(ssh / name), target.certificate_files))
        return Offer(tuple(pairs), tuple(names), tuple(left_out))


async def _agent_keys(agent: asyncssh.SSHAgentClient | None) -> Sequence[asyncssh.SSHKeyPair]:
    if agent is None:
        return ()
    try:
        return await agent.get_keys()
    except ValueError:  # an agent that is gone or refuses is as good as none
        return ()


def _load(path: str, certificates: tuple[str, ...]) -> KeyFile:
    public = _public_half(path)
    usable = [name for name in certificates if Path(name).exists()]
    try:
        pairs = tuple(asyncssh.load_keypairs(path, certlist=usable))
    except FileNotFoundError:
        return KeyFile(path, (), public, "missing")
    except OSError as error:
        return KeyFile(path, (), public, str(error.strerror))
    except asyncssh.KeyImportError as error:
        if str(error).startswith("Passphrase"):
            return KeyFile(path, (), public, "encrypted")
        return KeyFile(path, (), public, None if public else printable(str(error)))
    return KeyFile(path, pairs, pairs[0].key_public_data if pairs else public, None)


def _public_half(path: str) -> bytes | None:
    for name in (f"{path}.pub", path):
        try:
            return asyncssh.read_public_key(name).public_data
        except (OSError, asyncssh.KeyImportError):
            continue
    return None
