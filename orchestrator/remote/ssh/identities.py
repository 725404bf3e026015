"""Which keys to offer to a node: those of key files and of the agent, loaded once for all nodes.

Nothing here prompts the user: an encrypted key that the agent does not hold is left out and
reported, with the remedy.
"""

from __future__ import annotations

import asyncio
import copy
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from orchestrator.remote.ssh.config import Target
from orchestrator.util.bounded_read import Unreadable, read_bounded
from orchestrator.util.ssh_home import ssh_home, with_tilde
from orchestrator.util.text import printable

# ssh's own defaults (ssh_config(5), IdentityFile).
_DEFAULT_NAMES = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk")


_MOST_BYTES = 1 << 20  # of a key or certificate
_ARMOUR = re.compile(rb"[A-Za-z0-9 -]*\s*")
_AGENT_ANSWERS_WITHIN = 3.0  # seconds
_MISSING = "missing"
_ENCRYPTED = "Passphrase"  # start of asyncssh's message about an encrypted key


@dataclass(frozen=True)
class KeyFile:
    """A private key file: its key pairs, or the reason for none; its public key if known."""

    path: str
    pairs: tuple[asyncssh.SSHKeyPair, ...]
    public: bytes | None
    problem: str | None
    is_missing: bool = False
    is_encrypted: bool = False

    @property
    def shown(self) -> str:
        """The path for a message, with `~` for the home folder."""
        return with_tilde(self.path)


@dataclass(frozen=True)
class Offer:
    """The key pairs to offer, in order, with their names for a message, and the keys left out.

    `agent_problem` is why the agent's keys are missing, if it has not answered.
    """

    pairs: tuple[asyncssh.SSHKeyPair, ...]
    names: tuple[str, ...]
    left_out: tuple[KeyFile, ...]
    agent_problem: str | None = None


class KeyFiles:
    """Key files, each read once."""

    def __init__(self) -> None:
        self._loaded: dict[tuple[str, tuple[str, ...]], KeyFile] = {}
        self._certificates: dict[str, asyncssh.SSHCertificate | None] = {}

    def load(self, path: str, certificates: tuple[str, ...]) -> KeyFile:
        """Return the key file at `path`, paired with any of the `certificates` files."""
        key = (path, certificates)
        if key not in self._loaded:
            self._loaded[key] = _load(path, certificates)
        return self._loaded[key]

    async def offer(self, target: Target, agent: asyncssh.SSHAgentClient | None) -> Offer:
        """Return what to offer to `target`.

        Configured identities come first (from the agent if it holds them), then the agent's other keys,
        then the default files. So the keys of a full agent do not use up the server's limit of attempts
        before the key that the user named.
        """
        named = [path for path in target.identity_files if path.lower() != "none"]
        configured = [self.load(path, target.certificate_files) for path in named]
        in_agent, agent_problem = await _agent_keys(agent)
        by_public = {pair.public_data: pair for pair in in_agent}
        pairs: list[asyncssh.SSHKeyPair] = []
        names: list[str] = []
        left_out: list[KeyFile] = []

        def take(pair: asyncssh.SSHKeyPair, name: str) -> None:
            if all(pair.public_data != taken.public_data for taken in pairs):
                # A connection stores the negotiated signature algorithm in its pairs.
                pairs.append(copy.copy(pair))
                names.append(name)

        def take_file(file: KeyFile) -> None:
            held = by_public.get(file.public) if file.public else None
            if held is not None and not any(pair.has_cert for pair in file.pairs):
                beside = (*target.certificate_files, f"{file.path}-cert.pub")
                for certified in self._certified(held, beside):
                    take(certified, f"{file.shown} (agent, certificate)")
                take(held, f"{file.shown} (agent)")
            for pair in file.pairs:
                take(pair, file.shown)
            if held is None and file.problem:
                left_out.append(file)

        for file in configured:
            take_file(file)
        if not target.identities_only:
            for pair in in_agent:
                comment = printable(pair.get_comment_bytes() or b"", 60) or "without name"
                for certified in self._certified(pair, target.certificate_files):
                    take(certified, f"agent key {comment} (certificate)")
                take(pair, f"agent key {comment}")
        if not target.identity_files:
            for path in _default_files():
                file = self.load(path, target.certificate_files)
                if file.public is not None or not file.is_missing:
                    take_file(file)
        return Offer(tuple(pairs), tuple(names), tuple(left_out), agent_problem)

    def _certified(
        self, pair: asyncssh.SSHKeyPair, files: Sequence[str]
    ) -> Iterator[asyncssh.SSHKeyPair]:
        """Yield a key of the agent with each certificate in `files` that is for it."""
        for path in files:
            if path not in self._certificates:
                self._certificates[path] = _certificate(path)
            certificate = self._certificates[path]
            if certificate is not None and certificate.key.public_data == pair.key_public_data:
                certified = copy.copy(pair)
                certified.set_certificate(certificate)
                yield certified


def find_security_key(target: Target) -> str | None:
    """Return, for a message, the first key file for `target` whose key is on a security key (FIDO)."""
    files = target.identity_files or _default_files()
    return next((with_tilde(path) for path in files if _is_on_security_key(path)), None)


def _default_files() -> tuple[str, ...]:
    return tuple(str(ssh_home() / ".ssh" / name) for name in _DEFAULT_NAMES)


def _is_on_security_key(path: str) -> bool:
    """Return whether the public half of a key says so: `sk-ssh-ed25519@openssh.com AAAA...`."""
    public = f"{path}.pub"
    with suppress(OSError, Unreadable):
        return _no_key_file(public) is None and read_bounded(public, _MOST_BYTES).startswith(b"sk-")
    return False


async def _agent_keys(
    agent: asyncssh.SSHAgentClient | None,
) -> tuple[Sequence[asyncssh.SSHKeyPair], str | None]:
    """Return the agent's keys, and the problem if it does not answer."""
    if agent is None:
        return (), None
    try:
        async with asyncio.timeout(_AGENT_ANSWERS_WITHIN):
            return await agent.get_keys(), None
    except TimeoutError:
        return (), f"no answer within {_AGENT_ANSWERS_WITHIN:g} s"
    except ValueError:  # an agent that is gone or refuses counts as none
        return (), None


def _load(path: str, certificates: tuple[str, ...]) -> KeyFile:
    # asyncssh reads these too, and would wait forever for a pipe.
    beside = [name for name in (f"{path}.pub", f"{path}-cert.pub") if Path(name).exists()]
    for name in (path, *beside):
        problem = _no_key_file(name)
        if problem is not None:
            if name == path:
                is_missing = problem == _MISSING
                # The agent may have the key of a public half.
                public = _public_half(path) if is_missing else None
                return KeyFile(path, (), public, problem, is_missing=is_missing)
            return KeyFile(path, (), None, f"{printable(name)}: {problem}")
    public = _public_half(path)
    usable = [name for name in certificates if _no_key_file(name) is None]
    try:
        pairs = tuple(asyncssh.load_keypairs(path, certlist=usable))
    except OSError as error:
        return KeyFile(path, (), public, str(error.strerror))
    except ValueError as error:  # KeyImportError, or asyncssh's other errors about garbage
        if str(error).startswith(_ENCRYPTED):
            return KeyFile(path, (), public, "encrypted", is_encrypted=True)
        return KeyFile(path, (), public, printable(str(error)))
    return KeyFile(path, pairs, pairs[0].key_public_data if pairs else public, None)


def _certificate(path: str) -> asyncssh.SSHCertificate | None:
    """Return the certificate in a file, if it has one."""
    if _no_key_file(path) is not None:
        return None
    try:
        return asyncssh.read_certificate(path)
    except (OSError, ValueError):
        return None


def _no_key_file(path: str) -> str | None:
    """Return why `path` cannot be a key file; None if it can."""
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        return _MISSING
    except OSError as error:
        return str(error.strerror)
    except ValueError as error:  # a NUL in the path
        return str(error)
    if not stat.S_ISREG(status.st_mode):
        return "not a file"
    try:
        content = read_bounded(path, _MOST_BYTES)
    except FileNotFoundError:
        return _MISSING
    except Unreadable as error:
        return str(error)
    # asyncssh makes a regular expression from such a line.
    if any(not _ARMOUR.fullmatch(line) for line in content.split(b"\n") if line[:4] == b"----"):
        return "not a key"
    return None


def _public_half(path: str) -> bytes | None:
    for name in (f"{path}.pub", path):
        if _no_key_file(name) is None:
            try:
                return asyncssh.read_public_key(name).public_data
            except (OSError, ValueError):
                continue
    return None
