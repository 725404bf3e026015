"""Read ssh_config files as OpenSSH 9.2 does (readconf.c), without running it: the settings of one host.

Each file is read once, in any encoding, with limits, and with file and line in every error. A strict
reader raises Unsure at the first line that another version of ssh may understand in another way.
"""

from __future__ import annotations

import glob
import os
import pwd
import re
import stat
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from getpass import getuser
from ipaddress import ip_address
from pathlib import Path
from typing import NoReturn

from orchestrator.errors import UsageError
from orchestrator.node import trust
from orchestrator.remote.ssh.config_values import Line
from orchestrator.remote.ssh.match_conditions import NEWER, Circumstances, match_line
from orchestrator.remote.ssh.settings import LISTS, Settings
from orchestrator.remote.ssh.tokens import BadToken, expand, tokens
from orchestrator.util.bounded_read import Unreadable, read_bounded
from orchestrator.util.ssh_config_lines import BadLine, Directive, conditions, directives, words
from orchestrator.util.ssh_home import ssh_home
from orchestrator.util.ssh_patterns import matches
from orchestrator.util.text import printable

__all__ = ["ConfigParseError", "ConfigReader", "Unsure", "local_user"]

_MOST_BYTES = 4 << 20  # of one file; ten thousand hosts take about 2 MiB
_DEEPEST = 16  # nested includes; as in OpenSSH (READCONF_MAX_DEPTH)
_MOST_FILES = 4096
_READ_TIMEOUT = 5.0  # seconds, if it is a pipe
_EXEC_TIMEOUT = 10.0  # seconds, for a command of `Match exec`


class ConfigParseError(Exception):
    """An ssh_config file cannot be parsed, or names something that ssh would refuse."""


class Unsure(Exception):
    """Only ssh itself can tell what the files mean for this host."""


def local_user() -> str:
    """Return the name of this user, as ssh does. Raises UsageError if there is none."""
    with suppress(KeyError):
        return pwd.getpwuid(os.getuid()).pw_name
    try:
        return getuser()
    except (KeyError, OSError):  # such as in a container with an unknown user id
        raise UsageError(
            f"user id {os.getuid()} has no name on this machine, and SSH asks for one",
            remedy="give it one: export LOGNAME=NAME",
        ) from None


@dataclass
class ConfigReader:
    """Reads `files`, the user's and the system's, for any number of hosts.

    If `strict`, it raises Unsure where it is not certain to agree with ssh. With an `assumed_code`, no
    command of `Match exec` runs: each counts as ended with that exit code.
    """

    files: Sequence[Path]
    strict: bool = False
    assumed_code: int | None = None
    _parsed: dict[Path, list[Line] | ConfigParseError] = field(default_factory=dict)
    _exit_codes: dict[str, int] = field(default_factory=dict)
    _running: dict[str, threading.Lock] = field(default_factory=dict)

    def read(self, name: str, user: str | None, port: int | None) -> Settings:
        """Return the settings for the host `name`; `user` and `port` take precedence.

        Raises ConfigParseError, with the file and the line, if a file cannot be parsed.
        """
        settings = Settings()
        if user is not None:
            settings.values["user"] = (user,)
        if port is not None:
            settings.values["port"] = (str(port),)
        first = _Pass(self, name, settings, is_final=False)
        first.run()
        host = first.host()
        settings.values["hostname"] = (host,)
        if first.wants_final or settings.is_on("canonicalizehostname"):
            _Pass(self, name, settings, is_final=True).run()
        settings.values["hostname"] = (host,)
        return settings

    def parsed(self, path: Path) -> list[Line]:
        """Return the lines of a file. Raises ConfigParseError."""
        if path not in self._parsed:
            if len(self._parsed) >= _MOST_FILES:
                raise ConfigParseError(f"more than {_MOST_FILES:,} files include each other")
            try:
                self._parsed[path] = _lines_of(path)
            except ConfigParseError as error:
                self._parsed[path] = error
        found = self._parsed[path]
        if isinstance(found, ConfigParseError):
            raise found
        return found

    def exit_code(self, command: str) -> int:
        """Return the exit code of a command of `Match exec`; each command runs once."""
        if self.assumed_code is not None:
            return self.assumed_code
        with self._running.setdefault(command, threading.Lock()):
            if command not in self._exit_codes:
                self._exit_codes[command] = _exit_code(command)
        return self._exit_codes[command]


class _Pass:
    """One pass over all files for one host; adds to `settings` what they do not have yet."""

    def __init__(
        self, reader: ConfigReader, name: str, settings: Settings, *, is_final: bool
    ) -> None:
        self._reader = reader
        self._name = name
        self._settings = settings
        self._is_final = is_final
        self.wants_final = False
        self._path = Path()
        self._line = 0
        self._base = Path()
        self._is_users = True
        self._read_files = 0

    def run(self) -> None:
        for index, path in enumerate(self._reader.files):
            self._base = path.parent
            self._is_users = index == 0
            if self._is_users or path.is_relative_to(ssh_home()):
                _require_own(path)
            self._file(path, applies=True, depth=0)

    def host(self) -> str:
        """Return the name to connect to, so far."""
        given = self._settings.words("hostname")
        host = given[0] if given else self._name
        if given and not self._is_final:
            try:
                host = expand("hostname", given[0], {"h": self._name})
            except BadToken as error:
                place = self._settings.place("hostname")
                raise ConfigParseError(printable(f"{place}: {error}", 1000)) from None
        return host if _is_address(host) else host.lower()

    def _file(self, path: Path, *, applies: bool, depth: int) -> None:
        here = self._path, self._line
        self._path, self._line = path, 0
        self._read_files += 1
        if self._read_files > _MOST_FILES:
            self._fail(f"more than {_MOST_FILES:,} files include each other")
        active = applies
        for line in self._reader.parsed(path):
            directive = line.directive
            self._line = directive.line
            try:
                if directive.keyword == "host":
                    active = self._host(directive) and applies
                elif directive.keyword == "match":
                    active = self._match(directive) and applies
                elif directive.keyword == "include":
                    self._include(directive, applies=active, depth=depth)
                else:
                    self._take(line, active=active)
            except ValueError as error:
                self._fail(str(error))
        self._path, self._line = here

    def _fail(self, reason: str) -> NoReturn:
        where = f"{self._path}:{self._line}" if self._line else str(self._path)
        raise ConfigParseError(f"{printable(where, 400)}: {printable(reason)}")

    def _unsure(self, reason: str) -> None:
        if self._reader.strict:
            raise Unsure(f"{self._path}:{self._line}: {reason}")

    def _host(self, directive: Directive) -> bool:
        found = False
        for pattern in self._words(directive, "Host"):
            if not pattern:
                raise ValueError("Host has an empty pattern")
            if matches(self._name, pattern.removeprefix("!")):
                if pattern.startswith("!"):
                    return False
                found = True
        return found

    def _match(self, directive: Directive) -> bool:
        words(directive.value)  # ssh requires closed quotes of both kinds
        condition = list(conditions(directive.value))
        names = [word.removeprefix("!").lower() for word in condition]
        self.wants_final = self.wants_final or "final" in names
        # Even words may be patterns: too many are found, which is safe.
        if "exec" in names or any(word in NEWER for word in names):
            self._unsure("a condition that ssh evaluates")
        if "!final" in directive.value.lower() or re.search(r"[\"'\\]", directive.value):
            self._unsure("a condition that depends on the version of ssh")
        user = (self._settings.words("user") or (local_user(),))[0]
        tag = (self._settings.words("tag") or ("",))[0]
        run = partial(self._run, user=user)
        now = Circumstances(self.host(), self._name, user, local_user(), tag, self._is_final, run)
        return match_line(condition, now)

    def _run(self, command: str, user: str) -> int:
        port = int((self._settings.words("port") or ("22",))[0])
        alias = (self._settings.words("hostkeyalias") or ("",))[0]
        known = tokens(
            host=self.host(),
            name=self._name,
            port=port,
            user=user,
            local_user=local_user(),
            home=str(ssh_home()),
            alias=alias or self.host(),
            jump="",
        )
        return self._reader.exit_code(expand("exec", command, known))

    def _include(self, directive: Directive, *, applies: bool, depth: int) -> None:
        """Parse the included files; patterns expand as in a shell, in its order."""
        if depth >= _DEEPEST:
            raise ValueError(
                f"files include each other more than {_DEEPEST} deep; does one include itself?"
            )
        for pattern in self._words(directive, "Include"):
            if not pattern or (pattern.startswith("~") and not self._is_users):
                raise ValueError(f"bad include path {pattern}")
            if self._is_users and ssh_home() != Path.home():
                self._unsure("an include, for which $HOME counts")
            if re.search(r"[\\%$]|\*\*|^~[^/]", pattern):
                self._unsure("a pattern that ssh expands")
            # Path.expanduser raises for an unknown user.
            below = Path(glob.escape(str(self._base)), os.path.expanduser(pattern))  # noqa: PTH111
            for found in sorted(glob.glob(str(below)), key=os.fsencode):  # noqa: PTH207
                path = Path(found)
                if not path.is_dir():  # ssh skips folders too
                    _require_own(path)
                    self._file(path, applies=applies, depth=depth + 1)

    def _words(self, directive: Directive, option: str) -> list[str]:
        found = words(directive.value)
        if not found:
            raise ValueError(f"{option} has no value")
        return found

    def _take(self, line: Line, *, active: bool) -> None:
        if line.doubt:
            self._unsure(line.doubt)
        if line.problem:
            self._fail(line.problem)
        keyword, known = line.directive.keyword, self._settings.values
        if active and keyword == "sendenv" and keyword in known:
            self._unsure("patterns that add up")
        if not active or (keyword in known and keyword not in LISTS) or self._is_barred(keyword):
            return
        old = known.get(keyword, ())
        if not old:
            self._settings.places[keyword] = f"{self._path}:{self._line}"
        known[keyword] = old if line.values[0] in old else (*old, *line.values)

    def _is_barred(self, keyword: str) -> bool:
        """Return whether the other of ProxyJump and ProxyCommand came first: it counts."""
        if keyword == "proxyjump":
            return "proxycommand" in self._settings.values
        # After `ProxyJump none`, a ProxyCommand counts.
        return keyword == "proxycommand" and self._settings.word("proxyjump") is not None


def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _exit_code(command: str) -> int:
    """Run a command of `Match exec` as ssh does, with the user's shell; 1 if it hangs."""
    shell = os.environ.get("SHELL") or "/bin/sh"
    process = subprocess.Popen(
        [shell, "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return process.wait(_EXEC_TIMEOUT)
    except subprocess.TimeoutExpired:
        return 1
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
            process.wait()


def _lines_of(path: Path) -> list[Line]:
    try:
        # ssh ignores encodings; with this, opening a path uses the original bytes.
        text = os.fsdecode(read_bounded(path, _MOST_BYTES, _READ_TIMEOUT))
    except FileNotFoundError:
        return []  # removed since it was found
    except Unreadable as error:
        raise ConfigParseError(f"{printable(str(path))}: cannot be read: {error}") from None
    try:
        return [Line(directive) for directive in directives(text)]
    except BadLine as error:
        where = printable(f"{path}:{error.args[0]}", 400)
        raise ConfigParseError(f"{where}: expected a keyword and its value") from None


def _require_own(path: Path) -> None:
    """Refuse a file that others can write, as ssh does. Raises ConfigParseError."""
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode):
            trust.require_own(str(path), status)
    except trust.Untrusted as error:
        said = f"{error.path} {error.why}, so ssh refuses it; {error.remedy}"
        raise ConfigParseError(printable(said, 10_000)) from None
    except (OSError, ValueError):
        return  # reading it reports the reason
