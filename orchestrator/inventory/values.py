"""What the keys of an inventory take: each function turns what was written into what is meant.

A number may come as text, which is how a file gives it. Every function raises ValueError with what
was expected; the caller knows the place, and what stood there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from orchestrator.inventory.environment import Environment
from orchestrator.inventory.ssh_names import is_plain_user

VARIABLES = "variables and their values, as in {NCCL_DEBUG: INFO}"
LONGEST_NAME = 253  # of DNS; a node's name is also a folder's, of which Linux takes 255 bytes
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_IP = re.compile(r"[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?")
_HOP = re.compile(r"(ssh://)?((?P<user>[^@]+)@)?(?P<host>\[[^\]]+\]|[^:]+)(:(?P<port>[0-9]+))?")
_EXPECTED_HOPS = "expected none, or [user@]host[:port] with commas between several"
_MOST_DEVICES = 1024
_LONGEST_TEXT = 4096  # PATH_MAX of Linux
_LONGEST_VARIABLE = 128 * 1024  # MAX_ARG_STRLEN of Linux: a longer NAME=VALUE fails execve


def name(value: object) -> str:
    """A node's name, which serves as a folder's name and in front of every line of output."""
    if isinstance(value, str) and _is_name(value):
        return value
    raise ValueError("expected a host name: letters, digits, '.', '_' and '-', no '.' or '-' first")


def address(value: object) -> str:
    """A host name, an alias of the ssh configuration, or an IPv4 or IPv6 address."""
    if isinstance(value, str):
        if "@" in value:
            raise ValueError("expected an address alone; the user goes under 'user'")
        if re.fullmatch(r"[^:]+:[0-9]+", value):
            raise ValueError("expected an address alone; the port goes under 'port'")
        if ":" in value or re.fullmatch(r"[0-9.]+", value):
            if _is_ip(value):
                return value
            raise ValueError("expected a host name or a complete IP address")
        if _is_name(value):
            return value
    raise ValueError("expected a host name or an IP address")


def _is_name(value: str) -> bool:
    return len(value) <= LONGEST_NAME and _NAME.fullmatch(value) is not None


def _is_ip(value: str) -> bool:
    try:
        ip_address(value)
    except ValueError:
        return False
    return _IP.fullmatch(value) is not None


def port(value: object) -> int:
    """A TCP port."""
    number = _whole_number(value)
    if number is not None and 1 <= number <= 65535:
        return number
    raise ValueError("expected a port, a number from 1 to 65535")


def port_or_auto(value: object) -> int | None:
    """A TCP port, or None for a free one that orch finds."""
    try:
        return None if value in (None, "auto") else port(value)
    except ValueError as error:
        raise ValueError(f"{error}, or auto") from None


def user(value: object) -> str:
    """A login name that is one word in a command: ssh_config may hand it to a shell as `%r`."""
    if isinstance(value, str) and _is_text(value) and is_plain_user(value):
        return value
    raise ValueError(
        "expected a login name: no '-' first, no blanks, no '/' and nothing that a shell acts on"
    )


def text(value: object) -> str:
    """A path or a command on the node: one line that does not look like an option."""
    if isinstance(value, str) and _is_text(value):
        return value
    raise ValueError("expected one line of text, no '-' first")


def local_path(value: object, folder: Path | None) -> str:
    """A path on this machine: `~` is the home folder, a relative one starts at `folder`."""
    path = Path(text(value))
    try:
        path = path.expanduser()
    except RuntimeError:
        raise ValueError(f"expected a path; the home folder {path.parts[0]} is unknown") from None
    return str(path if folder is None else folder.absolute() / path)


def proxy_jump(value: object) -> str:
    """`none`, or the machines on the way as ssh -J takes them: `[user@]host[:port],...`."""
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
    for parse, part in parts:
        if part is not None:
            try:
                parse(part)
            except ValueError as error:
                raise ValueError(f"{_EXPECTED_HOPS}, and there {error}") from None


def devices(value: object) -> int | Literal["auto"]:
    """How many processes a node runs."""
    number = _whole_number(value)
    if number is not None and 1 <= number <= _MOST_DEVICES:
        return number
    if value == "auto":
        return "auto"
    raise ValueError(f"expected auto, or a number from 1 to {_MOST_DEVICES}")


def flag(value: object) -> bool:
    """Yes or no, as YAML 1.2 writes it."""
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise ValueError("expected true or false")


def launcher(value: object) -> str:
    """The name of a launcher; which there are is known where a plan is made."""
    if isinstance(value, str) and _is_name(value):
        return value
    raise ValueError("expected the name of a launcher")


def variable_name(value: object) -> str:
    """The name of an environment variable: `env` can set it, a shell need not be able to (`a.b`)."""
    if isinstance(value, str) and _is_text(value) and not {" ", "="}.intersection(value):
        return value
    raise ValueError("expected a variable's name: one word without '=', no '-' first")


def variable_value(value: object) -> str:
    """What execve can pass on. The message never has the value in it."""
    if not isinstance(value, str):
        raise ValueError('expected one value; "" is an empty one')
    if "\0" in value:
        raise ValueError("expected text without NUL characters")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError("expected text that UTF-8 can hold; this has half a character") from None
    if size >= _LONGEST_VARIABLE:
        raise ValueError(f"{size:,} bytes are more than Linux passes on: {_LONGEST_VARIABLE - 1:,}")
    return value


def environment(value: object) -> Environment:
    """Environment variables by name."""
    if not isinstance(value, Mapping):
        raise ValueError(f"expected {VARIABLES}")
    return Environment({variable_name(key): variable_value(value[key]) for key in value})


def _whole_number(value: object) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _is_text(value: str) -> bool:
    return value.isprintable() and value[:1] not in ("", "-") and len(value) <= _LONGEST_TEXT
