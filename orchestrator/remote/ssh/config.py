"""How ssh would reach a host: the user's ssh_config, overridden by the inventory."""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.inventory.values import is_valid_ssh_host, is_valid_ssh_user
from orchestrator.remote.ssh.config_files import (
    ConfigParseError,
    ConfigReader,
    Unsure,
    local_user,
    unused,
)
from orchestrator.remote.ssh.openssh_config import Openssh
from orchestrator.remote.ssh.settings import DROPPED, Settings
from orchestrator.remote.ssh.tokens import BadToken, expand, tokens
from orchestrator.util.quoting import command_line, line_to_paste
from orchestrator.util.text import printable

if TYPE_CHECKING:
    from orchestrator.inventory import Host

__all__ = ["ConfigParseError", "Resolver", "Target", "config_files"]

_Key = tuple[str, str | None, int | None]
"""A name, and the user and port of the inventory."""
_PORT = re.compile(r"[0-9]{0,5}")
_FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
_NEEDS_OPENSSH = {
    "bindinterface": "BindInterface",
    "knownhostscommand": "KnownHostsCommand",
    "pkcs11provider": "PKCS11Provider",
    "verifyhostkeydns": "VerifyHostKeyDNS",
}
_WITH_PROXY_COMMAND = {"proxyusefdpass": "ProxyUseFdpass"}
_LOGIN_BY_OPENSSH = {
    "gssapiauthentication": "GSSAPIAuthentication",
    "hostbasedauthentication": "HostbasedAuthentication",
}


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
    revoked_host_keys: str | None = None
    host_key_alias: str | None = None
    hash_known_hosts: bool = False
    accept_new: str | None = None
    """Where ssh_config allows unknown host keys: file and line; None if it does not."""
    connect_timeout: float | None = None
    """ConnectTimeout, in seconds."""
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
    dropped: tuple[str, ...] = ()
    """Settings without effect on orch that only matter if something fails: keyword, and where it is set."""

    @property
    def without_effect(self) -> tuple[str, ...]:
        """Settings that orch does not follow, for a message about a failure."""
        return (*self.needs_openssh, *self.login_by_openssh, *self.dropped)

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


@dataclass
class Resolver:
    """Resolves the hosts and gateways of one command, each once.

    orch reads the `files` itself where it is certain to agree with ssh, and asks `ssh -G` otherwise. ssh
    takes the home folder from passwd: if $HOME is another, orch's own reader follows $HOME.
    """

    files: tuple[Path, ...]
    openssh: Openssh | None = None
    """The ssh to ask; by default that of the PATH, if its home folder is orch's."""
    _own: dict[_Key, Settings | None] = field(default_factory=dict)
    _asked: dict[_Key, asyncio.Task[Settings]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.openssh is None and self.files and _is_home_of_ssh():
            self.openssh = Openssh.find()
        self._strict = ConfigReader(self.files, strict=True)
        self._lenient = ConfigReader(self.files)

    async def __aenter__(self) -> Resolver:
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the programs that still run."""
        for task in self._asked.values():
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)

    async def resolve_all(self, hosts: Sequence[Host]) -> list[Target]:
        """Return how to reach each host, in order. Raises ConfigParseError for the first that fails."""
        keys = [(host.address, host.user, host.port) for host in hosts]
        await asyncio.to_thread(self._read, keys)
        return await asyncio.gather(*map(self.resolve, hosts))

    async def resolve(self, host: Host) -> Target:
        """Return how to reach `host`. Raises ConfigParseError if a file cannot be parsed."""
        target = await self._look_up(host.address, host.user, host.port)
        identity = (host.identity_file,) if host.identity_file else ()
        extra = (host.known_hosts,) if host.known_hosts else ()
        target = replace(
            target, identity_files=identity + target.identity_files, extra_known_hosts=extra
        )
        if host.proxy_jump:
            target = replace(target, proxy_jump=host.proxy_jump, proxy_command=None)
        return target

    async def resolve_hop(self, hop: str, extra_known_hosts: tuple[str, ...]) -> Target:
        """Return how to reach the gateway `[user@]host[:port]`. Raises ConfigParseError."""
        user, _, address = hop.removeprefix("ssh://").rpartition("@")
        port: str = ""
        if address.startswith("["):
            address, _, port = address[1:].partition("]")
            port = port.removeprefix(":")
        elif address.count(":") == 1:
            address, _, port = address.partition(":")
        if not address or not _PORT.fullmatch(port) or int(port or 22) not in range(1, 65536):
            raise ConfigParseError(
                f"a gateway is written [user@]host[:port], not {printable(hop)!r}"
            )
        target = await self._look_up(address, user or None, int(port) if port else None)
        return replace(target, extra_known_hosts=extra_known_hosts)

    async def _look_up(self, name: str, user: str | None, port: int | None) -> Target:
        if not is_valid_ssh_host(name):
            raise ConfigParseError(f"ssh takes no host called {printable(name)!r}")
        if user is not None and not is_valid_ssh_user(user):
            raise ConfigParseError(f"ssh takes no user called {printable(user)!r}")
        key = name, user, port
        if key not in self._own:
            await asyncio.to_thread(self._read, [key])
        settings = self._own[key]
        if settings is None:
            if key not in self._asked:
                self._asked[key] = asyncio.create_task(self._ask(*key))
            settings = await self._asked[key]
        return _target(name, settings)

    def _read(self, keys: Sequence[_Key]) -> None:
        """Read the settings of hosts for which orch is certain to agree with ssh."""
        for key in keys:
            try:
                self._own[key] = self._strict.read(*key)
            except (Unsure, ConfigParseError):
                self._own[key] = None

    async def _ask(self, name: str, user: str | None, port: int | None) -> Settings:
        if self.openssh is None:  # in a thread: `Match exec` runs commands
            return await asyncio.to_thread(self._lenient.read, name, user, port)
        settings = await self.openssh.ask(name, user, port)
        try:
            own = ConfigReader(self.files, runs_commands=False).read(name, user, port)
        except ConfigParseError:
            return settings  # ssh has the last word
        return settings.with_places_of(own)


def _is_home_of_ssh() -> bool:
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir) == Path.home()
    except KeyError:
        return False


def _target(name: str, settings: Settings) -> Target:
    user = settings.word("user") or local_user()
    port = int(settings.word("port") or 22)
    known = tokens(
        host=settings.word("hostname") or name,
        name=name,
        port=port,
        user=user,
        local_user=local_user(),
        home=str(Path.home()),
        alias=(settings.word("hostkeyalias") or "").lower(),
        jump=settings.word("proxyjump") or "",
    )

    def filled(keyword: str, value: str) -> str:
        if keyword in settings.expanded:
            return value
        try:
            return expand(keyword, value, known)
        except BadToken as error:
            where = settings.places.get(keyword)
            place = f"{where}: " if where else ""
            raise ConfigParseError(
                printable(f"{place}{keyword} of {name}: {error}", 1000)
            ) from None

    def paths(keyword: str) -> tuple[str, ...]:
        return tuple(filled(keyword, _home(value)) for value in settings.words(keyword))

    def word(keyword: str) -> str | None:
        value = settings.word(keyword)
        return None if value is None else filled(keyword, value)

    ssh = Path.home() / ".ssh"
    own = (str(ssh / "known_hosts"), str(ssh / "known_hosts2"))
    system = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
    strictness = settings.word("stricthostkeychecking")
    timeout = settings.word("connecttimeout")
    control = settings.word("controlpath")
    return Target(
        label=name,
        hostname=settings.word("hostname") or name,
        port=port,
        user=user,
        identity_files=paths("identityfile"),
        identities_only=settings.is_on("identitiesonly"),
        certificate_files=paths("certificatefile"),
        agent=_agent(settings, filled),
        proxy_jump=word("proxyjump"),
        proxy_command=word("proxycommand"),
        user_known_hosts=_files(settings, "userknownhostsfile", paths("userknownhostsfile") or own),
        global_known_hosts=_files(
            settings, "globalknownhostsfile", settings.words("globalknownhostsfile") or system
        ),
        revoked_host_keys=_home(settings.word("revokedhostkeys") or "") or None,
        host_key_alias=(settings.word("hostkeyalias") or "").lower() or None,
        hash_known_hosts=settings.is_on("hashknownhosts"),
        accept_new=(
            settings.place("stricthostkeychecking")
            if strictness in ("false", "accept-new")
            else None
        ),
        connect_timeout=float(timeout) if timeout and timeout != "0" else None,
        family=_FAMILIES.get(settings.word("addressfamily") or "", socket.AF_UNSPEC),
        bind_address=settings.word("bindaddress"),
        tcp_keepalive=settings.words("tcpkeepalive") != ("no",),
        ciphers=settings.word("ciphers"),
        kex_algorithms=settings.word("kexalgorithms"),
        macs=settings.word("macs"),
        host_key_algorithms=settings.word("hostkeyalgorithms"),
        control_path=filled("controlpath", _home(control)) if control else None,
        needs_openssh=(
            *_named(settings, _NEEDS_OPENSSH),
            *(_named(settings, _WITH_PROXY_COMMAND) if settings.word("proxycommand") else ()),
        ),
        login_by_openssh=_logins(settings),
        warnings=unused(settings),
        dropped=tuple(
            printable(f"{keyword} ({settings.place(keyword)})", 400)
            for keyword in sorted(DROPPED)
            if settings.is_on(keyword)
        ),
    )


def _files(settings: Settings, keyword: str, files: tuple[str, ...]) -> tuple[str, ...]:
    return () if settings.words(keyword) == ("none",) else files


def _agent(settings: Settings, filled: Callable[[str, str], str]) -> str | None:
    """Return the socket of the agent; None without one, or if ssh_config says `none`."""
    given = settings.words("identityagent")
    if given and settings.word("identityagent") is None:
        return None
    agent = _home(given[0]) if given else "SSH_AUTH_SOCK"
    if agent == "SSH_AUTH_SOCK":
        agent = "$SSH_AUTH_SOCK"
    if re.fullmatch(r"\$[A-Za-z0-9_]+", agent):
        return os.environ.get(agent[1:]) or None
    return filled("identityagent", agent)


def _named(settings: Settings, names: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(
        printable(f"{name} {settings.word(keyword)}", 400)
        for keyword, name in names.items()
        if settings.is_on(keyword)
    )


def _logins(settings: Settings) -> tuple[str, ...]:
    """Return the other ways to log in. Distributions enable GSSAPI for all: that needs a ticket."""
    found = _named(settings, _LOGIN_BY_OPENSSH)
    is_default = settings.place("gssapiauthentication").startswith("/etc/ssh/")
    tickets = os.environ.get("KRB5CCNAME") or f"/tmp/krb5cc_{os.getuid()}"
    if is_default and not Path(tickets.rpartition("FILE:")[2]).exists():
        found = tuple(each for each in found if not each.startswith("GSSAPI"))
    return found


def _home(path: str) -> str:
    """Return `path` with a leading `~` expanded; `~USER` of an unknown user is unchanged."""
    return os.path.expanduser(path)  # noqa: PTH111 - Path.expanduser raises for an unknown user
