"""Check a node's host key against ssh's known_hosts files, strictly by default.

A key is known, unknown, changed or revoked. An unknown key is refused, or added if the user requested
it (`--accept-new`); a changed or revoked key is always refused.
Format: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT.
"""

from __future__ import annotations

import base64
import errno
import fcntl
import hashlib
import hmac
import os
import secrets
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from orchestrator.util.bounded_read import NotOpened, Unreadable, read_bounded
from orchestrator.util.ssh_patterns import matches_list
from orchestrator.util.text import printable

_MOST_BYTES = 64 << 20  # a hundred thousand hosts, with three keys each
_KRL = b"SSHKRL\n\0"  # start of a KRL
_KEYGEN_TIMEOUT = 5.0  # seconds
_READ_TIMEOUT = 5.0  # seconds, if it is a pipe


@dataclass(frozen=True)
class Entry:
    """One line of a known_hosts file."""

    file: str
    line: int
    marker: str  # "", "cert-authority" or "revoked"
    hosts: str
    blob: bytes  # the key as SSH encodes it

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def key_type(self) -> str:
        """The type of the key, such as `ssh-ed25519`."""
        return self.blob[4 : 4 + int.from_bytes(self.blob[:4], "big")].decode("ascii", "replace")

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.blob)


@dataclass(frozen=True)
class Known:
    """The entries of the files for one host. `elsewhere` has keys known under its name at port 22: ssh
    accepts them at other ports too, but does not report a different key there as changed.
    """

    keys: tuple[Entry, ...]
    authorities: tuple[Entry, ...]
    revoked: tuple[Entry, ...]
    elsewhere: tuple[Entry, ...]

    def trusts(self, blob: bytes) -> bool:
        return any(entry.blob == blob for entry in (*self.keys, *self.elsewhere))

    def trusts_authority(self, blob: bytes) -> bool:
        return any(entry.blob == blob for entry in self.authorities)

    def instead_of(self, blob: bytes) -> Entry | None:
        """Return the known key that `blob` replaces, preferably of the same type."""
        offered = Entry("", 0, "", "", blob).key_type
        same = (entry for entry in self.keys if entry.key_type == offered)
        return next(same, self.keys[0] if self.keys else None)

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The signature algorithms of the known keys, to be preferred."""
        found: dict[str, None] = {}
        if self.authorities:
            found["*-cert-*"] = None
        for entry in (*self.keys, *self.elsewhere):
            types = ("rsa-sha2-512", "rsa-sha2-256") if entry.key_type == "ssh-rsa" else ()
            found.update(dict.fromkeys(types or (entry.key_type,)))
        return tuple(found)


@dataclass
class KnownHosts:
    """The known_hosts files of this machine, each parsed once."""

    _parsed: dict[str, _File | Unreadable] = field(default_factory=dict)
    _revoked: dict[tuple[bytes, str], str | None] = field(default_factory=dict)

    def look_up(self, name: str, port: int, files: Iterable[str]) -> Known:
        """Return the entries of `files` for the host `name`; missing files are skipped.

        `name` is as ssh looks it up: a host name or address, or a HostKeyAlias with port 22. Raises
        Unreadable, with the file, if a file cannot be read.
        """
        loaded = [self._file(file) for file in files]
        there = [entry for file in loaded for entry in file.matching(_lookup_name(name, port))]
        elsewhere: list[Entry] = []
        if port != 22 and not any(entry.marker != "revoked" for entry in there):
            plain = [entry for file in loaded for entry in file.matching(name)]
            elsewhere = [entry for entry in plain if entry.marker == ""]
            there += [entry for entry in plain if entry.marker != ""]
        return Known(
            keys=tuple(entry for entry in there if entry.marker == ""),
            authorities=tuple(entry for entry in there if entry.marker == "cert-authority"),
            revoked=tuple(entry for entry in there if entry.marker == "revoked"),
            elsewhere=tuple(elsewhere),
        )

    def add(self, name: str, port: int, key: asyncssh.SSHKey, file: str, *, hashed: bool) -> None:
        """Add the key of a new host to `file`, as ssh would. Raises OSError.

        Writes whole lines only, under a lock: several orch processes may do so at once.
        """
        host = _lookup_name(name, port)
        public = key.export_public_key("openssh").decode("ascii").split()
        line = f"{_hash(host) if hashed else host} {public[0]} {public[1]}\n"
        path = Path(file)
        if file == os.devnull:  # the user wants no host keys stored
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A pipe without a reader must not block.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "it is not a file")
        with open(descriptor, "r+b") as stream:  # noqa: PTH123
            fcntl.flock(stream, fcntl.LOCK_EX)
            text = stream.read()
            if any(entry.blob == key.public_data for entry in _File(file, text).matching(host)):
                return
            torn = bool(text) and not text.endswith(b"\n")
            stream.write(b"\n" * torn + os.fsencode(line))
        self._parsed.pop(file, None)

    def why_revoked(self, key: asyncssh.SSHKey, revoked: str) -> str | None:
        """Return why `key` is not to be trusted with the file `revoked` of RevokedHostKeys.

        None: it is not in the file, which is a list of keys or a KRL of ssh-keygen(1).
        """
        asked = key.public_data, revoked
        if asked not in self._revoked:
            self._revoked[asked] = _why_revoked(key, revoked)
        return self._revoked[asked]

    def _file(self, file: str) -> _File:
        if file not in self._parsed:
            self._parsed[file] = _read(file)
        parsed = self._parsed[file]
        if isinstance(parsed, Unreadable):
            raise parsed
        return parsed


def _why_revoked(key: asyncssh.SSHKey, revoked: str) -> str | None:
    try:
        content = read_bounded(revoked, _MOST_BYTES, _READ_TIMEOUT)
    except (FileNotFoundError, Unreadable) as error:
        reason = getattr(error, "strerror", None) or error
        return f"cannot be looked up: {printable(str(reason))}"
    if not content.startswith(_KRL):
        encoded = base64.b64encode(key.public_data)
        return "is revoked" if encoded in content.split() else None
    with tempfile.NamedTemporaryFile(prefix="orch-key-") as public:
        public.write(key.export_public_key("openssh"))
        public.flush()
        command = ["ssh-keygen", "-Q", "-f", revoked, public.name]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_KEYGEN_TIMEOUT
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"cannot be looked up: {printable(str(error))}"
    if done.returncode == 0:
        return None
    if b"REVOKED" in done.stdout:
        return "is revoked"
    return f"cannot be looked up: {printable(done.stderr)}"


def _read(file: str) -> _File | Unreadable:
    try:
        return _File(file, read_bounded(file, _MOST_BYTES, _READ_TIMEOUT))
    except (FileNotFoundError, NotOpened):  # ssh also continues without it
        return _File(file, b"")
    except Unreadable as error:
        return Unreadable(f"known_hosts file {printable(file, 400)}: {error}")


class _File:
    """One parsed file: exact names in a table, hashed names and patterns in lists."""

    def __init__(self, name: str, text: bytes) -> None:
        self._exact: dict[str, list[Entry]] = {}
        self._hashed: list[tuple[bytes, bytes, Entry]] = []
        self._patterns: list[Entry] = []
        for number, raw in enumerate(os.fsdecode(text).split("\n"), 1):
            entry = _parse(name, number, raw)
            if entry is None:
                continue
            if entry.hosts.startswith("|1|"):
                salt, _, digest = entry.hosts[3:].partition("|")
                try:
                    self._hashed.append((base64.b64decode(salt), base64.b64decode(digest), entry))
                except ValueError:
                    continue
            elif any(c in entry.hosts for c in "*?!"):
                self._patterns.append(entry)
            else:
                for host in entry.hosts.lower().split(","):
                    self._exact.setdefault(host, []).append(entry)

    def matching(self, host: str) -> Iterator[Entry]:
        """Yield the entries for `host`, a name or `[name]:port`."""
        host = host.lower()
        yield from self._exact.get(host, ())
        data = os.fsencode(host)
        for salt, digest, entry in self._hashed:
            if hmac.digest(salt, data, "sha1") == digest:
                yield entry
        for entry in self._patterns:
            if matches_list(host, entry.hosts.lower()):
                yield entry


def _parse(file: str, number: int, raw: str) -> Entry | None:
    """Parse one line; return None if ssh would skip it too."""
    fields = raw.split()
    marker = ""
    if fields and fields[0].startswith("@"):
        marker = fields.pop(0)[1:]
        if marker not in ("cert-authority", "revoked"):
            return None
    if len(fields) < 3 or fields[0].startswith("#"):
        return None
    try:
        blob = base64.b64decode(fields[2], validate=True)
    except ValueError:
        return None
    return Entry(file, number, marker, fields[0], blob)


def _lookup_name(name: str, port: int) -> str:
    return name.lower() if port == 22 else f"[{name.lower()}]:{port}"


def _hash(host: str) -> str:
    salt = secrets.token_bytes(20)
    digest = hmac.digest(salt, os.fsencode(host), "sha1")
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def fingerprint(blob: bytes) -> str:
    """Return a key's fingerprint as ssh-keygen -l shows it."""
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode("ascii")
    return f"SHA256:{digest.rstrip('=')}"
