"""Values of an inventory's keys: each function checks a value as written and returns its meaning.

Numbers may be text, as in a file. Every function raises ValueError with what was expected; the caller adds
the position and what was found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path

from pydantic import ValidationInfo

VARIABLES = "variables and their values, as in {NCCL_DEBUG: INFO}"
MAX_NAME = 253  # of DNS; a node's name is also a folder name, for which Linux allows 255 bytes
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_IP = re.compile(r"[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?")
_HOP = re.compile(r"(ssh://)?((?P<user>[^@]+)@)?(?P<host>\[[^\]]+\]|[^:]+)(:(?P<port>[0-9]+))?")
_EXPECTED_HOPS = "expected none, or [user@]host[:port] with commas between several"
_MAX_TEXT = 4096  # PATH_MAX of Linux
_MAX_VARIABLE = 128 * 1024  # MAX_ARG_STRLEN of Linux: execve fails for a longer NAME=VALUE

# Users and hosts that ssh accepts on its command line: valid_ruser and valid_hostname of OpenSSH 10.
# ssh_config passes both to a shell (`%r` and `%h` in a ProxyCommand) and expands `${NAME}`, so text from
# another user's file must not become a command (CVE-2023-51385).
_SPACE = r" \t\n\v\f\r"
_CONTROL = r"\x00-\x1f\x7f"
_SSH_HOST = re.compile(rf"(?!-)[^'`\"$\\;&<>|(){{}},{_SPACE}{_CONTROL}]+")
_SSH_USER = re.compile(rf"(?!-)(?:[^'`\"\\;&<>|(){{}}{_SPACE}{_CONTROL}]|[ ](?!-)|\\(?!\Z))+")
# Also excludes what a shell expands or a path treats as another folder, which ssh accepts.
_SHELL_SAFE_USER = re.compile(r"(?![~#])[^$*?\[\]/\s]*")


class Environment(Mapping[str, str]):
    """Immutable environment variables; `repr` shows the names only, as values may be secret."""

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self._variables = dict(variables or {})

    def __getitem__(self, name: str) -> str:
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def __hash__(self) -> int:
        return hash(frozenset(self._variables.items()))

    def __repr__(self) -> str:
        return f"Environment({', '.join(self._variables)})"


def is_valid_ssh_host(host: str) -> bool:
    """Tell whether ssh accepts `host` on its command line."""
    return _SSH_HOST.fullmatch(host) is not None


def is_valid_ssh_user(user: str) -> bool:
    """Tell whether ssh accepts `user` on its command line: also `DOMAIN\\user`, no shell characters."""
    return _SSH_USER.fullmatch(user) is not None


def is_shell_safe_user(user: str) -> bool:
    """Tell whether `user` is one word wherever ssh_config uses it: in a command and in a path."""
    return is_valid_ssh_user(user) and _SHELL_SAFE_USER.fullmatch(user) is not None


def name(value: object) -> str:
    """A node's name, which is also a folder name and the prefix of its output."""
    return _text_that(
        _is_name, value, "a host name: letters, digits, '.', '_' and '-', no '.' or '-' first"
    )


def address(value: object) -> str:
    """A host name, an alias of ssh_config, or an IPv4 or IPv6 address."""
    if isinstance(value, str):
        if "@" in value:
            raise ValueError("expected an address alone; the user goes under 'user'")
        if re.fullmatch(r"[^:]+:[0-9]+", value):
            raise ValueError("expected an address alone; the port goes under 'port'")
        if ":" in value or re.fullmatch(r"[0-9.]+", value):
            return _text_that(_is_ip, value, "a host name or a complete IP address")
    return _text_that(_is_name, value, "a host name or an IP address")


def ip(value: object) -> str:
    """A complete IPv4 or IPv6 address."""
    return _text_that(_is_ip, value, "a complete IP address")


def port(value: object) -> int:
    """A TCP port."""
    number = whole_number(value)
    if number is not None and 1 <= number <= 65535:
        return number
    raise ValueError("expected a port, a number from 1 to 65535")


def port_or_auto(value: object) -> int | None:
    """A TCP port, or None if orch should find a free one."""
    try:
        return None if value in (None, "auto") else port(value)
    except ValueError as error:
        raise ValueError(f"{error}, or auto") from None


def user(value: object) -> str:
    """A login name that is safe where ssh_config passes it to a shell as `%r`."""
    expected = "a login name: no '-' first, no blanks, no '/' and nothing that a shell acts on"
    return _text_that(lambda line: _is_line(line) and is_shell_safe_user(line), value, expected)


def text(value: object) -> str:
    """A path or a command on the node: one line that does not look like an option."""
    return _text_that(_is_line, value, "one line of text, no '-' first")


def local_path(value: object, info: ValidationInfo) -> str:
    """A path on this machine: `~` is the home folder; the context is where a relative path starts."""
    path, folder = Path(text(value)), info.context
    try:
        path = path.expanduser()
    except RuntimeError:
        raise ValueError(f"expected a path; the home folder {path.parts[0]} is unknown") from None
    return str(path if folder is None else folder.absolute() / path)


def proxy_jump(value: object) -> str:
    """`none`, or gateways as for ssh -J: `[user@]host[:port],...`."""
    if not isinstance(value, str):
        raise ValueError(_EXPECTED_HOPS)
    for hop in value.split(","):
        _check_hop(hop)
    return value


def _check_hop(hop: str) -> None:
    match = _HOP.fullmatch(hop)
    if match is None:
        raise ValueError(_EXPECTED_HOPS)
    parts = (address, match["host"].strip("[]")), (user, match["user"]), (port, match["port"])
    try:
        for parse, part in parts:
            if part is not None:
                parse(part)
    except ValueError as error:
        raise ValueError(f"{_EXPECTED_HOPS}, and there {error}") from None


def flag(value: object) -> bool:
    """True or false, as YAML 1.2 writes it."""
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise ValueError("expected true or false")


def launcher(value: object) -> str:
    """The name of a launcher; whether it exists is checked when a plan is made."""
    return _text_that(_is_name, value, "the name of a launcher")


def transport(value: object) -> str:
    """The name of a transport; whether it exists is checked when it is used."""
    return _text_that(_is_name, value, "the name of a transport")


def variable_name(value: object) -> str:
    """The name of an environment variable: any that `env` can set, also `a.b`."""
    expected = "a variable's name: one word without '=', no '-' first"
    return _text_that(lambda line: _is_line(line) and not set(" =") & set(line), value, expected)


def variable_value(value: object) -> str:
    """A value that execve can pass on. The error message never contains it."""
    if not isinstance(value, str):
        raise ValueError('expected one value; "" is an empty one')
    if "\0" in value:
        raise ValueError("expected text without NUL characters")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError("expected text that UTF-8 can hold; this has half a character") from None
    if size >= _MAX_VARIABLE:
        raise ValueError(f"{size:,} bytes are more than Linux passes on: {_MAX_VARIABLE - 1:,}")
    return value


def environment(value: object) -> Environment:
    """Environment variables by name."""
    if not isinstance(value, Mapping):
        raise ValueError(f"expected {VARIABLES}")
    return Environment({variable_name(key): variable_value(value[key]) for key in value})


def _text_that(is_valid: Callable[[str], bool], value: object, expected: str) -> str:
    if isinstance(value, str) and is_valid(value):
        return value
    raise ValueError(f"expected {expected}")


def _is_name(value: str) -> bool:
    return len(value) <= MAX_NAME and _NAME.fullmatch(value) is not None


def _is_ip(value: str) -> bool:
    try:
        ip_address(value)
    except ValueError:
        return False
    return _IP.fullmatch(value) is not None


def _is_line(value: str) -> bool:
    return value.isprintable() and value[:1] not in ("", "-") and len(value) <= _MAX_TEXT


def whole_number(value: object) -> int | None:
    """Return the number that `value` is, or has as text; None if it is something else."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
