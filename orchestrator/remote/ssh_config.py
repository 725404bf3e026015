"""How ssh would reach a name: the user's ssh_config with the inventory's values on top.

asyncssh parses the files (Host, Match, Include, tokens); this module picks what orch needs and
reports every keyword that applies to a host and has no effect here, with its file and line.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asyncssh.config import ConfigParseError, SSHClientConfig

if TYPE_CHECKING:
    from orchestrator.inventory import Host

__all__ = ["ConfigParseError", "Target", "config_files", "resolve", "resolve_hop"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Read by asyncssh's parser and used here.
_HONOURED = _words("""
    host match include tag addressfamily bindaddress certificatefile ciphers
    globalknownhostsfile hostkeyalgorithms hostkeyalias hostname identitiesonly identityagent
    identityfile kexalgorithms macs port proxycommand proxyjump tcpkeepalive user
    userknownhostsfile
""")
# Nothing to say about these: they steer a person's own session (prompts, terminals, forwarding,
# multiplexing), or name a mechanism or a limit that orch has its own rule for.
_BESIDE_THE_POINT = _words("""
    addkeystoagent batchmode canonicalizefallbacklocal canonicalizemaxdots
    challengeresponseauthentication clearallforwardings compression connectionattempts
    connecttimeout controlmaster controlpath controlpersist dynamicforward
    enableescapecommandline escapechar exitonforwardfailure fingerprinthash
    forkafterauthentication forwardagent forwardx11 forwardx11timeout forwardx11trusted
    gatewayports gssapiauthentication gssapidelegatecredentials gssapikeyexchange
    hostbasedauthentication ignoreunknown ipqos kbdinteractiveauthentication localcommand
    localforward loglevel logverbose nohostauthenticationforlocalhost numberofpasswordprompts
    obscurekeystroketiming passwordauthentication permitlocalcommand permitremoteopen
    preferredauthentications pubkeyauthentication rekeylimit remotecommand remoteforward
    requesttty sendenv serveralivecountmax serveraliveinterval sessiontype setenv stdinnull
    syslogfacility streamlocalbindmask streamlocalbindunlink tunnel tunneldevice updatehostkeys
    usekeychain visualhostkey xauthlocation
""")


@dataclass(frozen=True)
class Target:
    """Everything it takes to connect to one endpoint; the key by which gateways are shared."""

    label: str  # the name it was asked for by
    hostname: str
    port: int
    user: str
    identity_files: tuple[str, ...] = ()
    identities_only: bool = False
    certificate_files: tuple[str, ...] = ()
    agent: str | None = None
    proxy_jump: str | None = None
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
    warnings: tuple[str, ...] = ()

    @property
    def endpoint(self) -> str:
        """Where it is, for a message: `host`, or `host port N`."""
        return self.hostname if self.port == 22 else f"{self.hostname} port {self.port}"

    @property
    def ssh_command(self) -> str:
        """The ssh command with which a person reaches the same place."""
        port = "" if self.port == 22 else f"-p {self.port} "
        return f"ssh {port}{self.user}@{self.hostname}"


def config_files() -> tuple[Path, ...]:
    """Return the ssh_config files that exist, in ssh's order: the user's, then the system's."""
    candidates = (Path.home() / ".ssh" / "config", Path("/etc/ssh/ssh_config"))
    return tuple(path for path in candidates if os.access(path, os.R_OK))


def resolve(host: Host, files: tuple[Path, ...]) -> Target:
    """Return how to reach `host`. Raises ConfigParseError when a file cannot be understood."""
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
    """Return how to reach a gateway written `[user@]host[:port]`; raises ConfigParseError."""
    user, _, address = hop.removeprefix("ssh://").rpartition("@")
    port: str = ""
    if address.startswith("["):
        address, _, port = address[1:].partition("]")
        port = port.removeprefix(":")
    elif address.count(":") == 1:
        address, _, port = address.partition(":")
    if not address or (port and not port.isdecimal()):
        raise ConfigParseError(f"a gateway is written [user@]host[:port], not {hop!r}")
    target = _lookup(address, user or None, int(port) if port else None, files)
    return replace(target, extra_known_hosts=extra_known_hosts)


def _lookup(name: str, user: str | None, port: int | None, files: tuple[Path, ...]) -> Target:
    config = _parse(name, user, port, files, final=False)
    if config.has_match_final():
        config = _parse(name, user, port, files, final=True)

    def words(option: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        value: Any = config.get(option)
        return default if value is None else tuple(str(Path(word).expanduser()) for word in value)

    def word(option: str) -> str | None:
        value: Any = config.get(option)
        return None if value is None else str(value)

    ssh = Path.home() / ".ssh"
    agent: Any = config.get("IdentityAgent", "SSH_AUTH_SOCK")  # None when set to "none"
    if agent == "SSH_AUTH_SOCK":
        agent = os.environ.get("SSH_AUTH_SOCK")
    jump, command = word("ProxyJump"), word("ProxyCommand")
    return Target(
        label=name,
        hostname=word("Hostname") or name,
        port=int(word("Port") or 22),
        user=word("User") or getuser(),
        identity_files=words("IdentityFile"),
        identities_only=bool(config.get("IdentitiesOnly")),
        certificate_files=words("CertificateFile"),
        agent=str(Path(agent).expanduser()) if agent else None,
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
        warnings=tuple(config.unused),
    )


def _parse(
    name: str, user: str | None, port: int | None, files: tuple[Path, ...], *, final: bool
) -> _Config:
    # () is asyncssh's word for "not given".
    config = _Config(None, False, False, final, getuser(), user or (), name, port or ())
    for path in files:
        config.parse(path)
    return config


_Handler = tuple[str, Callable[[Any, str, list[str]], None]]


class _Handlers(Mapping[str, _Handler]):
    """asyncssh's table of keywords, with one handler for all that orch makes no use of."""

    def __init__(self, known: Mapping[str, _Handler]) -> None:
        self._known = known

    def __getitem__(self, keyword: str) -> _Handler:
        if keyword in _HONOURED:
            return self._known[keyword]
        return keyword, _Config.set_aside

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


class _Config(SSHClientConfig):
    """asyncssh's parser, which skips unknown keywords in silence, made to report them."""

    _handlers: Any = _Handlers(SSHClientConfig._handlers)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.unused: list[str] = []
        self.hash_known_hosts = False
        self._hash_seen = False

    def set_aside(self, keyword: str, args: list[str]) -> None:
        """Take the one keyword that is ours alone; note any other that applies to this host."""
        if keyword == "hashknownhosts":
            if not self._hash_seen:
                self.hash_known_hosts = args[:1] == ["yes"]
                self._hash_seen = True
        elif keyword not in _BESIDE_THE_POINT:
            self.unused.append(f"{self._path}:{self._line_no}: {keyword} has no effect on orch")
        args.clear()
