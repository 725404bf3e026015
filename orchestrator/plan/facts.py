"""What a node is, as its agent told it (`node/facts.py`), parsed into one typed value."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any

Address = ipaddress.IPv4Interface | ipaddress.IPv6Interface

_INTERFACE = re.compile(
    r"[^-\s/:][^\s/:]{0,14}"
)  # dev_valid_name of the kernel; none begins with a dash
_MOST_GPUS = 1024
_MOST_CPUS = 1 << 20
_LARGEST = (1 << 32) - 1  # a number of a user
_LONGEST = 1 << 17  # characters of a variable
_FASTEST = 10_000_000  # Mb/s


@dataclass(frozen=True)
class Interface:
    """A network interface that is up; `speed` in Mb/s where the link tells."""

    name: str
    addresses: tuple[Address, ...]
    speed: int | None
    loopback: bool


@dataclass(frozen=True)
class Facts:
    """What one node is.

    `identity` is the same for two names of one machine. `clock_skew` is how far the node's clock is
    ahead of the controller's, in seconds, give or take `clock_error`. `environment` has what the node's
    own login environment sets of the variables that orch would otherwise set itself.
    """

    hostname: str
    identity: str
    uid: int
    home: str
    python_version: str
    cpus: int
    gpus: int
    rsync: str | None
    interfaces: tuple[Interface, ...]
    ssh_address: str | None
    clock_skew: float
    environment: dict[str, str]
    clock_error: float = 0.0

    @classmethod
    def parse(cls, raw: dict[str, Any], clock_skew: float, clock_error: float = 0.0) -> Facts:
        """Return the facts that an agent's answer holds.

        Raises ValueError, KeyError or TypeError when it holds something else.
        """
        return cls(
            hostname=_text(raw["hostname"]),
            identity=_text(raw["identity"]),
            uid=_count(raw["uid"], _LARGEST),
            home=_absolute(raw["home"]),
            python_version=_text(raw["python_version"]),
            cpus=_count(raw["cpus"], _MOST_CPUS),
            gpus=_count(raw["gpus"], _MOST_GPUS),
            rsync=None if raw["rsync"] is None else _text(raw["rsync"]),
            interfaces=tuple(
                Interface(
                    name=interface_name(entry["name"]),
                    addresses=tuple(
                        ipaddress.ip_interface(_text(item)) for item in entry["addresses"]
                    ),
                    speed=None if entry["speed"] is None else _count(entry["speed"], _FASTEST),
                    loopback=bool(entry["loopback"]),
                )
                for entry in raw["interfaces"]
            ),
            ssh_address=_ssh_address(raw["ssh_address"]),
            clock_skew=clock_skew,
            environment={_text(key): _text(value) for key, value in raw["environment"].items()},
            clock_error=clock_error,
        )


def interface_name(raw: Any) -> str:
    """Return the name of an interface. Raises ValueError for what is none: it will stand in commands."""
    if not isinstance(raw, str) or not raw.isprintable() or not _INTERFACE.fullmatch(raw):
        raise ValueError(f"not the name of an interface: {raw!r:.40}")
    return raw


def ip_address(raw: Any) -> str:
    """Return an IP address, without a zone (%eth0). Raises ValueError for anything else."""
    return str(ipaddress.ip_address(str(raw).partition("%")[0]))


def _ssh_address(raw: Any) -> str | None:
    try:
        return ip_address(raw)
    except ValueError:
        return None  # sshd says UNKNOWN where no socket of its own is the connection


def _count(raw: Any, most: int) -> int:
    if type(raw) is not int or not 0 <= raw <= most:
        raise ValueError(f"not a count up to {most}: {raw!r:.40}")
    return raw


def _text(raw: Any) -> str:
    if not isinstance(raw, str) or len(raw) > _LONGEST:
        raise ValueError(f"not a text of at most {_LONGEST} characters: {raw!r:.40}")
    return raw


def _absolute(path: Any) -> str:
    if not isinstance(path, str) or not path.startswith("/") or not path.isprintable():
        raise ValueError(f"not an absolute path: {path!r:.40}")
    return path
