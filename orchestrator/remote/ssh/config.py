"""How ssh would reach a host: the user's ssh_config, overridden by the inventory."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.remote.ssh.config_files import ConfigParseError, local_user, read_config
from orchestrator.util.quoting import command_line, line_to_paste
from orchestrator.util.text import printable

if TYPE_CHECKING:
    from orchestrator.inventory import Host

_PORT = re.compile(r"[0-9]{0,5}")

__all__ = ["ConfigParseError", "Target", "config_files", "resolve", "resolve_hop"]


@dataclass(frozen=True)
class Target:
    """All settings for connecting to one endpoint; equal targets share a gateway connection."""

    label: str  # the name that was requested
    hostname: str
    port: int
    user: str
    identity_files: tuple[str, ...] = ()
    identities_only: bool = False
    certificate_files: tuple[str, ...] = ()
    agent: str | None = None
    proxy_jump: str | None = None  # "none" if the inventory says so
    proxy_command: str | None = None
    user_known_hosts: tuple[str, ...] = ()
    global_known_hosts: tuple[str, ...] = ()
    extra_known_hosts: tuple[str, ...] = ()
    host_key_alias: str | None = None
    hash_known_hosts: bool = False
    family: int = socket.AF_UNSPEC
    bind_address: str | None = None
    tcp_keepalive: bool = True
    ciphers: str | None = None
    kex_algorithms: str | None = None
    macs: str | None = None
    host_key_algorithms: str | None = None
    control_path: str | None = None
    """Where a master connection of the user may listen."""
    needs_openssh: tuple[str, ...] = ()
    """Settings that only OpenSSH's client can apply: without them, the login is another, or less safe."""
    login_by_openssh: tuple[str, ...] = ()
    """Settings by which OpenSSH's client may log in if the keys of this target are refused."""
    warnings: tuple[str, ...] = ()

    @property
    def endpoint(self) -> str:
        """The endpoint for a message: `host`, or `host port N`."""
        host = printable(self.hostname)
        return host if self.port == 22 else f"{host} port {self.port}"

    def command(self, *words: str, program: str = "ssh") -> str:
        """Return the command with which a user reaches the same target and runs `words` in a shell there.

        It uses the requested name; ssh finds the rest in its files, as orch did.
        """
        way = [] if self.port == 22 else ["-p", str(self.port)]
        if self.proxy_jump:
            way += ["-o", f"ProxyJump={self.proxy_jump}"]  # not -J, which ssh-copy-id does not know
        there = [command_line(words)] if words else []
        return line_to_paste([program, *way, f"{self.user}@{self.label}", *there])


def config_files() -> tuple[Path, ...]:
    """Return the ssh_config files that exist, in ssh's order: the user's, then the system's."""
    candidates = (Path.home() / ".ssh" / "config", Path("/etc/ssh/ssh_config"))
    return tuple(path for path in candidates if os.access(path, os.R_OK))


def resolve(host: Host, files: tuple[Path, ...]) -> Target:
    """Return how to reach `host`. Raises ConfigParseError if a file cannot be parsed."""
    target = _lookup(host.address, host.user, host.port, files)
    identity = (host.identity_file,) if host.identity_file else ()
    extra = (host.known_hosts,) if host.known_hosts else ()
    target = replace(
        target, identity_files=identity + target.identity_files, extra_known_hosts=extra
    )
    if host.proxy_jump:
        target = replace(target, proxy_jump=host.proxy_jump, proxy_command=None)
    return target


def resolve_hop(hop: str, files: tuple[Path, ...], extra_known_hosts: tuple[str, ...]) -> Target:
    """Return how to reach the gateway `[user@]host[:port]`. Raises ConfigParseError."""
    user, _, address = hop.removeprefix("ssh://").rpartition("@")
    port: str = ""
    if address.startswith("["):
        address, _, port = address[1:].partition("]")
        port = port.removeprefix(":")
    elif address.count(":") == 1:
        address, _, port = address.partition(":")
    if not address or not _PORT.fullmatch(port) or int(port or 22) not in range(1, 65536):
        raise ConfigParseError(f"a gateway is written [user@]host[:port], not {printable(hop)!r}")
    target = _lookup(address, user or None, int(port) if port else None, files)
    return replace(target, extra_known_hosts=extra_known_hosts)


def _lookup(name: str, user: str | None, port: int | None, files: tuple[Path, ...]) -> Target:
    config = read_config(name, user, port, files)

    def words(option: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        value: Any = config.get(option)
        return default if value is None else tuple(map(_expanded, value))

    def word(option: str) -> str | None:
        value: Any = config.get(option)
        return None if value is None else str(value)

    ssh = Path.home() / ".ssh"
    agent: Any = config.get("IdentityAgent", "SSH_AUTH_SOCK")  # None when set to "none"
    if agent == "SSH_AUTH_SOCK":
        agent = "$SSH_AUTH_SOCK"
    if agent and agent.startswith("$"):
        agent = os.environ.get(agent[1:])
    jump, command = word("ProxyJump"), word("ProxyCommand")
    return Target(
        label=name,
        hostname=word("Hostname") or name,
        port=int(word("Port") or 22),
        user=word("User") or local_user(),
        identity_files=words("IdentityFile"),
        identities_only=bool(config.get("IdentitiesOnly")),
        certificate_files=words("CertificateFile"),
        agent=_expanded(agent) if agent else None,
        proxy_jump=jump,
        proxy_command=None if jump else command,
        user_known_hosts=words(
            "UserKnownHostsFile", (str(ssh / "known_hosts"), str(ssh / "known_hosts2"))
        ),
        global_known_hosts=words(
            "GlobalKnownHostsFile", ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
        ),
        host_key_alias=word("HostKeyAlias"),
        hash_known_hosts=config.hash_known_hosts,
        family=int(word("AddressFamily") or socket.AF_UNSPEC),
        bind_address=word("BindAddress"),
        tcp_keepalive=config.get("TCPKeepAlive") is not False,
        ciphers=word("Ciphers"),
        kex_algorithms=word("KexAlgorithms"),
        macs=word("MACs"),
        host_key_algorithms=word("HostKeyAlgorithms"),
        control_path=_expanded(config.control_path) if config.control_path else None,
        needs_openssh=tuple(config.needs_openssh),
        login_by_openssh=tuple(config.login_by_openssh),
        warnings=tuple(config.unused),
    )


def _expanded(path: str) -> str:
    """Return `path` with a leading `~` expanded; `~USER` of an unknown user is unchanged."""
    return os.path.expanduser(path)  # noqa: PTH111 - Path.expanduser raises for an unknown user
