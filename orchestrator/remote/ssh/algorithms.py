"""Which SSH algorithms to ask for: ssh_config's if it names some, else known keys and speed first."""

from __future__ import annotations

from asyncssh.encryption import get_default_encryption_algs, get_encryption_algs
from asyncssh.kex import get_default_kex_algs, get_kex_algs
from asyncssh.mac import get_default_mac_algs, get_mac_algs
from asyncssh.pattern import WildcardPattern
from asyncssh.public_key import (
    get_default_certificate_algs,
    get_default_public_key_algs,
    get_public_key_algs,
)

from orchestrator.remote.ssh.config import Target
from orchestrator.remote.ssh.host_keys import Known

# AES-GCM costs about 0.6 of ChaCha20 (which asyncssh asks for first) where the CPU knows AES.
_FAST_CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"


def algorithms(target: Target, known: Known) -> dict[str, list[str]]:
    """Return the algorithm arguments of asyncssh.connect for `target`."""
    chosen = {
        "server_host_key_algs": _host_key_algorithms(target, known),
        "encryption_algs": _expand(
            target.ciphers or _FAST_CIPHERS, get_encryption_algs(), get_default_encryption_algs()
        ),
    }
    if target.kex_algorithms:
        chosen["kex_algs"] = _expand(target.kex_algorithms, get_kex_algs(), get_default_kex_algs())
    if target.macs:
        chosen["mac_algs"] = _expand(target.macs, get_mac_algs(), get_default_mac_algs())
    return chosen


def _host_key_algorithms(target: Target, known: Known) -> list[str]:
    """Return the host key algorithms in the order to ask for: what is known comes first.

    A host known by its RSA key alone is asked for that key, so its new ed25519 key is not taken
    for a change. Certificates are asked for only where an authority is trusted to sign them.
    """
    plain = get_default_public_key_algs()
    if target.host_key_algorithms:
        certificates = get_default_certificate_algs()
        return _expand(target.host_key_algorithms, [*certificates, *get_public_key_algs()], plain)
    certificates = get_default_certificate_algs() if known.authorities else []
    possible = get_public_key_algs()
    first = [name.encode() for name in known.algorithms if name.encode() in possible]
    return [name.decode() for name in dict.fromkeys([*certificates, *first, *plain])]


def _expand(pattern: str, possible: list[bytes], default: list[bytes]) -> list[str]:
    """Return what an algorithm list of ssh_config selects; names asyncssh lacks are left out."""
    sign = pattern[0] if pattern[0] in "+-^" else ""
    globs = [WildcardPattern(glob) for glob in pattern.removeprefix(sign).split(",")]
    names = [name.decode() for name in possible]
    chosen = [name for glob in globs for name in names if glob.matches(name)]
    usual = [name.decode() for name in default]
    if sign == "-":
        return [name for name in usual if name not in chosen]
    found = {"+": [*usual, *chosen], "^": [*chosen, *usual], "": chosen}[sign]
    return list(dict.fromkeys(found)) or usual
