"""Which SSH algorithms to request: those in ssh_config, or else known host keys and fast ciphers first."""

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

# AES-GCM takes about 0.6 of the time of ChaCha20 (asyncssh's first choice) on CPUs with AES support.
_FAST_CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"


def algorithms(target: Target, known: Known, *, certificates: bool = True) -> dict[str, list[str]]:
    """Return the algorithm arguments of asyncssh.connect for `target`.

    Without `certificates`, the host is asked for its plain key.
    """
    # Which certificates are revoked can only be asked about keys.
    wanted = certificates and bool(known.authorities) and not target.revoked_host_keys
    chosen = {
        "server_host_key_algs": _host_key_algorithms(target, known, certificates=wanted),
        "encryption_algs": _expand(
            target.ciphers or _FAST_CIPHERS, get_encryption_algs(), get_default_encryption_algs()
        ),
    }
    if target.kex_algorithms:
        chosen["kex_algs"] = _expand(target.kex_algorithms, get_kex_algs(), get_default_kex_algs())
    if target.macs:
        chosen["mac_algs"] = _expand(target.macs, get_mac_algs(), get_default_mac_algs())
    return chosen


def _host_key_algorithms(target: Target, known: Known, *, certificates: bool) -> list[str]:
    """Return the host key algorithms in the order of preference, those of known keys first.

    If a host is known only by its RSA key, that key is requested, so that its new ed25519 key does not
    look like a change. Certificates are requested only if a trusted authority is known.
    """
    plain, public = get_default_public_key_algs(), get_public_key_algs()
    certified = get_default_certificate_algs() if certificates else []
    if target.host_key_algorithms:
        allowed = _expand(target.host_key_algorithms, [*certified, *public], plain)
    else:
        known_names = [name.encode() for name in known.algorithms]
        usual = [*certified, *(name for name in known_names if name in public), *plain]
        allowed = [name.decode() for name in usual]
    preferred = [*(name.decode() for name in certified), *known.algorithms]
    return list(dict.fromkeys([*(name for name in preferred if name in allowed), *allowed]))


def _expand(pattern: str, possible: list[bytes], default: list[bytes]) -> list[str]:
    """Expand an algorithm list from ssh_config, without names that asyncssh does not support."""
    sign = pattern[0] if pattern[0] in "+-^" else ""
    globs = [WildcardPattern(glob) for glob in pattern.removeprefix(sign).split(",")]
    names = [name.decode() for name in possible]
    chosen = [name for glob in globs for name in names if glob.matches(name)]
    usual = [name.decode() for name in default]
    if sign == "-":
        return [name for name in usual if name not in chosen]
    found = {"+": [*usual, *chosen], "^": [*chosen, *usual], "": chosen}[sign]
    return list(dict.fromkeys(found)) or usual
