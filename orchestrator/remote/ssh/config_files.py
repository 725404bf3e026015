"""Read ssh_config files as ssh does: the settings that apply to one host.

asyncssh knows the keywords and evaluates Host and Match. orch reads the files: in any encoding, with
limits, with file and line in every error, and with tokens expanded once.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import socket
import stat
from collections.abc import Callable, Iterator, Mapping
from getpass import getuser
from pathlib import Path
from typing import Any, NoReturn

from asyncssh.config import ConfigParseError, SSHClientConfig

from orchestrator.errors import UsageError
from orchestrator.inventory.values import is_valid_ssh_host, is_valid_ssh_user
from orchestrator.node import trust
from orchestrator.remote.ssh.config_lines import BadLine, Directive, criteria, directives, words
from orchestrator.remote.ssh.match_conditions import settled
from orchestrator.util.bounded_read import Unreadable, read_bounded
from orchestrator.util.text import printable

__all__ = ["ConfigParseError", "HostConfig", "local_user", "read_config"]

_MOST_BYTES = 4 << 20  # of one file; ten thousand hosts take about 2 MiB
_DEEPEST = 16  # nested includes; as in OpenSSH (READCONF_MAX_DEPTH)
_MOST_FILES = 4096
_READ_TIMEOUT = 5.0  # seconds, if it is a pipe
_REST_OF_LINE = ("proxycommand",)  # passed to a shell as it is
_TOKEN = re.compile(r"%(?P<token>.?)|\$\{(?P<name>[^}]*)\}")


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Read by asyncssh's parser and used here.
_HONOURED = _names("""
    host match include tag addressfamily bindaddress certificatefile ciphers
    globalknownhostsfile hostkeyalgorithms hostkeyalias hostname identitiesonly identityagent
    identityfile kexalgorithms macs port proxycommand proxyjump tcpkeepalive user
    userknownhostsfile
""")
# Not reported: they concern interactive sessions (prompts, terminals, forwarding, multiplexing), or a
# mechanism or limit for which orch has its own rule.
_BESIDE_THE_POINT = _names("""
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
# What only OpenSSH's client can do, by keyword: unless the value is one of _OFF.
_NEEDS_OPENSSH = {
    "knownhostscommand": "KnownHostsCommand",
    "pkcs11provider": "PKCS11Provider",
    "proxyusefdpass": "ProxyUseFdpass",
    "verifyhostkeydns": "VerifyHostKeyDNS",
}
_LOGIN_BY_OPENSSH = {
    "gssapiauthentication": "GSSAPIAuthentication",
    "hostbasedauthentication": "HostbasedAuthentication",
}
_OFF = ("no", "none", "false")
# Values in which ssh expands tokens (%h), or tokens and the environment (${NAME}): ssh_config(5), TOKENS.
_WITH_TOKENS = ("ProxyCommand", "ProxyJump")
_WITH_TOKENS_AND_ENVIRONMENT = (
    "CertificateFile",
    "IdentityAgent",
    "IdentityFile",
    "UserKnownHostsFile",
)


def read_config(
    name: str, user: str | None, port: int | None, files: tuple[Path, ...]
) -> HostConfig:
    """Return the settings in `files` for the host `name`; `user` and `port` take precedence.

    Raises ConfigParseError, with the file and the line, if a file cannot be parsed. Also raises it for a
    name or user that ssh would refuse: files pass both to a shell.
    """
    if not is_valid_ssh_host(name):
        raise ConfigParseError(f"ssh takes no host called {printable(name)!r}")
    if user is not None and not is_valid_ssh_user(user):
        raise ConfigParseError(f"ssh takes no user called {printable(user)!r}")
    config = _read(name, user, port, files, final=False)
    return _read(name, user, port, files, final=True) if config.has_match_final() else config


def local_user() -> str:
    """Return the name of this user, which asyncssh requires. Raises UsageError if there is none."""
    try:
        return getuser()
    except (KeyError, OSError):  # such as in a container with an unknown user id
        raise UsageError(
            f"user id {os.getuid()} has no name on this machine, and SSH asks for one",
            remedy="give it one: export LOGNAME=NAME",
        ) from None


def _read(
    name: str, user: str | None, port: int | None, files: tuple[Path, ...], *, final: bool
) -> HostConfig:
    # asyncssh uses () for "not given".
    config = HostConfig(None, False, False, final, local_user(), user or (), name, port or ())
    for path in files:
        config.parse(path)
    config.fill_in()
    return config


_Handler = tuple[str, Callable[[Any, str, list[str]], None]]


class _Handlers(Mapping[str, _Handler]):
    """asyncssh's keyword handlers, with orch's own for some, and one for all unused keywords."""

    def __init__(self, known: Mapping[str, _Handler]) -> None:
        self._known = known

    def __getitem__(self, keyword: str) -> _Handler:
        if keyword == "include":
            return "Include", HostConfig.include
        if keyword == "match":
            return "Match", HostConfig.match
        if keyword == "port":
            return "Port", HostConfig.set_port
        if keyword in _HONOURED and keyword in self._known:
            return self._known[keyword]
        return keyword, HostConfig.set_aside

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


class HostConfig(SSHClientConfig):
    """The settings for one host. `unused` has those that apply to it but have no effect on orch."""

    _handlers: Any = _Handlers(SSHClientConfig._handlers)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.unused: list[str] = []
        self.hash_known_hosts = False
        self.needs_openssh: list[str] = []
        self.login_by_openssh: list[str] = []
        self.control_path: str | None = None
        self._seen: set[str] = set()
        self._hash_seen = False
        self._tokens = {"%": "%"}
        self._base = Path()  # relative paths of Include start here
        self._depth = 0
        self._read_files = 0

    def parse(self, path: Path) -> None:
        """Parse a file of the user or of the system."""
        self._base = path.parent
        self._parse(path)

    def _parse(self, path: Path) -> None:
        self._read_files += 1
        if self._read_files > _MOST_FILES:
            self._error(f"more than {_MOST_FILES:,} files include each other")
        text = self._text(path)
        self._path, self._line_no, self._matching = path, 0, True
        try:
            for directive in directives(text):
                self._line_no = directive.line
                self._take(directive)
        except BadLine as error:
            self._line_no = error.args[0]
            self._error("expected a keyword and its value")

    def _text(self, path: Path) -> str:
        self._require_own(path)
        try:
            # ssh ignores encodings; with this, opening a path uses the original bytes.
            return os.fsdecode(read_bounded(path, _MOST_BYTES, _READ_TIMEOUT))
        except FileNotFoundError:
            return ""  # removed since it was found
        except Unreadable as error:
            if self._depth:
                self._error(f"cannot include {path}: {error}")
            raise ConfigParseError(f"{printable(str(path))}: cannot be read: {error}") from None

    def _require_own(self, path: Path) -> None:
        """Refuse a file that others can write, as ssh does; the system's file is not checked."""
        if not self._depth and not path.is_relative_to(Path.home()):
            return
        try:
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                trust.require_own(str(path), status)
        except trust.Untrusted as error:
            said = f"{error.path} {error.why}, so ssh refuses it; {error.remedy}"
            raise ConfigParseError(printable(said, 10_000)) from None
        except OSError:
            return  # reading it reports the reason

    def _take(self, directive: Directive) -> None:
        keyword = directive.keyword
        if not self._matching and keyword not in self._conditionals:
            return
        option, handler = self._handlers[keyword]
        rest = keyword in _REST_OF_LINE
        try:
            arguments = (
                [directive.value][: len(directive.value)] if rest else words(directive.value)
            )
            if not arguments:
                self._error(f"{option} has no value")
            handler(self, option, arguments)
        except ConfigParseError:
            raise
        except (ValueError, IndexError) as error:  # asyncssh's handlers do not catch them
            self._error(str(error))
        if arguments:
            self._error(f"there is more after the value of {option}: {' '.join(arguments)}")

    def _error(self, reason: str) -> NoReturn:
        """Raise ConfigParseError for the current line."""
        where = f"{self._path}:{self._line_no}" if self._line_no else str(self._path)
        raise ConfigParseError(f"{printable(where, 400)}: {printable(reason)}")

    def include(self, option: str, arguments: list[str]) -> None:
        """Parse the included files here; patterns expand as in a shell, in its order."""
        here = self._path, self._line_no
        self._depth += 1
        if self._depth > _DEEPEST:
            self._error(
                f"files include each other more than {_DEEPEST} deep; does one include itself?"
            )
        for pattern in arguments:
            # Path.expanduser raises for an unknown user.
            below = Path(glob.escape(str(self._base)), os.path.expanduser(pattern))  # noqa: PTH111
            for found in sorted(glob.glob(str(below))):  # noqa: PTH207
                if not Path(found).is_dir():  # ssh skips folders too
                    self._parse(Path(found))
                    self._path, self._line_no = here
        self._depth -= 1
        self._matching = True  # an Include that does not apply is not followed
        arguments.clear()

    def match(self, option: str, arguments: list[str]) -> None:
        """Start a Match block; expand the tokens of commands in its conditions."""
        arguments[:] = settled(criteria(arguments))
        self._set_tokens()
        for index, word in enumerate(arguments[:-1]):
            if word.lower().removeprefix("!") == "exec":
                arguments[index + 1] = self._expand_val(arguments[index + 1])
        self._match(option, arguments)

    def set_port(self, option: str, arguments: list[str]) -> None:
        """Set the port after checking its range, which asyncssh does not."""
        port = arguments.pop(0)
        if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
            self._error(f"{option} {port} is not a number from 1 to 65535")
        self._options.setdefault(option, int(port))

    def set_aside(self, keyword: str, arguments: list[str]) -> None:
        """Handle the one keyword that only orch reads; record any other that applies to this host."""
        if keyword == "hashknownhosts":
            if not self._hash_seen:
                self.hash_known_hosts = arguments[:1] == ["yes"]
                self._hash_seen = True
            arguments.clear()
            return
        if keyword not in self._seen:
            self._seen.add(keyword)
            value = " ".join(arguments)
            is_on = value.lower() not in _OFF
            if is_on and keyword in _NEEDS_OPENSSH:
                self.needs_openssh.append(printable(f"{_NEEDS_OPENSSH[keyword]} {value}", 400))
            if is_on and keyword in _LOGIN_BY_OPENSSH:
                self.login_by_openssh.append(
                    printable(f"{_LOGIN_BY_OPENSSH[keyword]} {value}", 400)
                )
            if is_on and keyword == "controlpath":
                self.control_path = value
        if keyword not in _BESIDE_THE_POINT:
            where = f"{self._path}:{self._line_no}"
            self.unused.append(printable(f"{where}: {keyword} has no effect on orch", 400))
        arguments.clear()

    def fill_in(self) -> None:
        """Expand tokens and variables once; the results are not expanded again."""
        self._set_tokens()
        for option in (*_WITH_TOKENS, *_WITH_TOKENS_AND_ENVIRONMENT):
            environment = option in _WITH_TOKENS_AND_ENVIRONMENT
            value: Any = self._options.get(option)
            try:
                if isinstance(value, list):
                    value = [self._filled_in(item, environment=environment) for item in value]
                elif isinstance(value, str):
                    value = self._filled_in(value, environment=environment)
            except ConfigParseError as error:
                raise ConfigParseError(f"{option} of {self._orig_host}: {error}") from None
            if value is not None:
                self._options[option] = value
        if self.control_path is not None:
            self.control_path = self._filled_in(self.control_path, environment=True)

    def _set_tokens(self) -> None:
        """Set the values of tokens; asyncssh's own method fails on names in other encodings."""
        here, given = socket.gethostname(), self._options
        host, jump = str(given.get("Hostname") or self._orig_host), given.get("ProxyJump")
        user, port = str(given.get("User") or self._local_user), str(given.get("Port") or 22)
        jump = jump if isinstance(jump, str) else ""
        connection = os.fsencode(f"{here}{host}{port}{user}{jump}")
        self._tokens.update(
            C=hashlib.sha1(connection, usedforsecurity=False).hexdigest(),
            d=str(Path.home()),
            h=host,
            i=str(os.getuid()),
            j=jump,
            k=str(given.get("HostKeyAlias") or self._orig_host),
            L=here.partition(".")[0],
            l=here,
            n=self._orig_host,
            p=port,
            r=user,
            u=self._local_user,
        )

    def _expand_val(self, value: str) -> str:
        """Override asyncssh's method, which expands HostName."""
        try:
            return self._filled_in(value, environment=False)
        except ConfigParseError as error:
            self._error(str(error))

    def _filled_in(self, value: str, *, environment: bool) -> str:
        def fill(found: re.Match[str]) -> str:
            token, name = found["token"], found["name"]
            if name is None:
                if token not in self._tokens:
                    raise ConfigParseError(f"%{printable(token)} stands for nothing")
                return self._tokens[token]
            if not environment:
                return found[0]
            if name not in os.environ:
                raise ConfigParseError(f"${{{printable(name)}}} is not set")
            return os.environ[name]

        return _TOKEN.sub(fill, value)
