"""How to connect to one endpoint: the settings of ssh_config as orch uses them."""

from __future__ import annotations

import functools
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
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
from orchestrator.util.ssh_home import ssh_home, tilde
from orchestrator.util.text import printable

_TICKET_TIMEOUT = 2.0  # seconds
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
    "securitykeyprovider": "SecurityKeyProvider",
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
    forward_agent: str | None = None
    """The socket of the agent that sessions can use (ForwardAgent)."""
    environment: tuple[tuple[str, str], ...] = ()
    """Variables of sessions (SetEnv); the first of a name counts."""
    send_env: tuple[str, ...] = ()
    """Patterns of the variables of this process that sessions get, as far as the server accepts them."""
    control_path: str | None = None
    """Where a master connection of the user may listen."""
    needs_openssh: tuple[str, ...] = ()
    """Settings that only OpenSSH's client can apply: without them, the login is another, or less safe."""
    pkcs11_provider: str | None = None
    login_by_openssh: tuple[str, ...] = ()
    """Settings by which OpenSSH's client may log in if the keys of this target are refused."""
    unused: tuple[str, ...] = ()
    """Settings without effect on orch: keyword, and where it is set."""
    dropped: tuple[str, ...] = ()
    """Those that only matter if something fails."""
    not_sent: tuple[str, ...] = ()
    """SendEnv, which only OpenSSH's client follows, unless it is the system's default."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """A warning for each setting without effect."""
        return tuple(f"ssh_config: {setting} has no effect on orch" for setting in self.unused)

    @property
    def trusts_new_keys(self) -> str:
        """The warning that ssh_config allows unknown host keys."""
        place = printable(self.accept_new or "", 400)
        return f"{place}: unknown host keys are trusted (StrictHostKeyChecking)"

    @property
    def without_effect(self) -> tuple[str, ...]:
        """Settings that orch does not follow, for a message about a failure."""
        login = (*self.needs_openssh, *self.login_by_openssh)
        return (*login, *self.unused, *self.dropped, *self.not_sent)

    def by_openssh(self) -> Target:
        """Return the same target for OpenSSH's client, which follows what orch does not."""
        return replace(self, needs_openssh=(), login_by_openssh=(), unused=(), not_sent=())

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
        home=str(ssh_home()),
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
        return tuple(filled(keyword, tilde(value)) for value in settings.words(keyword))

    def word(keyword: str) -> str | None:
        value = settings.word(keyword)
        return None if value is None else filled(keyword, value)

    ssh = ssh_home() / ".ssh"
    own = (str(ssh / "known_hosts"), str(ssh / "known_hosts2"))
    system = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
    agent = _agent(settings, filled)
    variables: dict[str, str] = {}
    for each in settings.words("setenv"):
        variables.setdefault(*each.split("=", 1))
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
        agent=agent,
        proxy_jump=word("proxyjump"),
        proxy_command=word("proxycommand"),
        user_known_hosts=_files(settings, "userknownhostsfile", paths("userknownhostsfile") or own),
        global_known_hosts=_files(
            settings, "globalknownhostsfile", settings.words("globalknownhostsfile") or system
        ),
        revoked_host_keys=_files(
            settings, "revokedhostkeys", tuple(map(tilde, settings.words("revokedhostkeys")))
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
        forward_agent=_forwarded(settings, agent, filled),
        environment=tuple(variables.items()),
        send_env=settings.words("sendenv"),
        control_path=filled("controlpath", tilde(control)) if control else None,
        needs_openssh=(
            *_named(settings, _NEEDS_OPENSSH),
            *(_named(settings, _WITH_PROXY_COMMAND) if settings.word("proxycommand") else ()),
        ),
        pkcs11_provider=settings.word("pkcs11provider"),
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
        not_sent=() if _is_systems(settings, "sendenv") else _placed(settings, ("sendenv",)),
    )


def _files(settings: Settings, keyword: str, files: tuple[str, ...]) -> tuple[str, ...]:
    return () if settings.words(keyword) == ("none",) else files


def _agent(settings: Settings, filled: Callable[[str, str], str]) -> str | None:
    """Return the socket of the agent; None without one, or if ssh_config says `none`."""
    given = settings.words("identityagent")
    if given and settings.word("identityagent") is None:
        return None
    agent = given[0] if given else "SSH_AUTH_SOCK"
    return _socket("identityagent", "$SSH_AUTH_SOCK" if agent == "SSH_AUTH_SOCK" else agent, filled)


def _forwarded(
    settings: Settings, agent: str | None, filled: Callable[[str, str], str]
) -> str | None:
    """Return the socket of the agent to forward; None if there is none, or none is to be."""
    value = settings.word("forwardagent") or "no"
    if value in ("yes", "no"):
        return agent if value == "yes" else None
    return _socket("forwardagent", value, filled)


def _socket(keyword: str, value: str, filled: Callable[[str, str], str]) -> str | None:
    """Return the path of a socket, which a variable may have."""
    if re.fullmatch(r"\$[A-Za-z0-9_]+", value):
        return os.environ.get(value[1:]) or None
    return filled(keyword, tilde(value))


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
    if found and _is_systems(settings, "gssapiauthentication") and not _has_ticket():
        found = tuple(each for each in found if not each.startswith("GSSAPI"))
    return found


@functools.cache
def _has_ticket() -> bool:
    """Return whether this user has a valid ticket of Kerberos, in whatever kind of cache."""
    with suppress(OSError, subprocess.TimeoutExpired):
        asked = subprocess.run(["klist", "-s"], timeout=_TICKET_TIMEOUT, check=False)
        return asked.returncode == 0
    tickets = os.environ.get("KRB5CCNAME") or f"/tmp/krb5cc_{os.getuid()}"
    return Path(tickets.rpartition("FILE:")[2]).exists()


def _is_systems(settings: Settings, keyword: str) -> bool:
    """Return whether a keyword is not set, or by the system's files, as distributions do for all."""
    return keyword not in settings.values or settings.place(keyword).startswith("/etc/ssh/")
