"""How to connect to one endpoint: the settings of ssh_config as orch uses them."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.remote.ssh.config_files import ConfigParseError, local_user
from orchestrator.remote.ssh.settings import (
    CANONICAL,
    DROPPED,
    HONOURED,
    SESSION_ONLY,
    Settings,
)
from orchestrator.remote.ssh.tokens import BadToken, expand, tokens
from orchestrator.util.quoting import command_line, line_to_paste
from orchestrator.util.text import printable

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
    revoked_host_keys: tuple[str, ...] = ()
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
    unused: tuple[str, ...] = ()
    """Settings without effect on orch: keyword, and where it is set."""
    dropped: tuple[str, ...] = ()
    """Those that only matter if something fails."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """A warning for each setting without effect."""
        return tuple(f"ssh_config: {setting} has no effect on orch" for setting in self.unused)

    @property
    def without_effect(self) -> tuple[str, ...]:
        """Settings that orch does not follow, for a message about a failure."""
        return (*self.needs_openssh, *self.login_by_openssh, *self.unused, *self.dropped)

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


def target_of(name: str, settings: Settings) -> Target:
    """Return the target for the requested `name`. Raises ConfigParseError for an invalid token."""
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
    canonical = CANONICAL if settings.is_of_ssh else frozenset[str]()
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
        revoked_host_keys=_files(
            settings, "revokedhostkeys", tuple(map(_home, settings.words("revokedhostkeys")))
        ),
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
        unused=_placed(
            settings,
            (
                keyword
                for keyword in settings.values
                if keyword not in HONOURED | SESSION_ONLY | DROPPED | canonical
            ),
        ),
        dropped=_placed(settings, filter(settings.is_on, sorted(DROPPED))),
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


def _placed(settings: Settings, keywords: Iterable[str]) -> tuple[str, ...]:
    return tuple(printable(f"{each} ({settings.place(each)})", 400) for each in keywords)


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
