"""Facts about a node, from the answer of its agent (`node/facts.py`)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from orchestrator.util.answers import count, reader, text

Address = ipaddress.IPv4Interface | ipaddress.IPv6Interface

_INTERFACE = re.compile(r"[^-\s/:][^\s/:]{0,14}")  # dev_valid_name of Linux, but no leading dash
_MAX_GPUS = 1024
_MAX_CPUS = 1 << 20
_MAX_UID = (1 << 32) - 1
_MAX_TEXT = 1 << 17  # characters
_MAX_SPEED = 10_000_000  # Mb/s


def interface_name(raw: Any) -> str:
    """Return the name of an interface, which is safe in a command. Raises ValueError for anything else."""
    if not isinstance(raw, str) or not raw.isprintable() or not _INTERFACE.fullmatch(raw):
        raise ValueError(f"not the name of an interface: {raw!r:.40}")
    return raw


def ip_address(raw: Any) -> str:
    """Return an IP address, without a zone (%eth0). Raises ValueError for anything else."""
    return str(ipaddress.ip_address(str(raw).partition("%")[0]))


def _interface_address(raw: Any) -> Address:
    return ipaddress.ip_interface(text(raw))


def _ssh_address(raw: Any) -> str | None:
    try:
        return ip_address(raw)
    except ValueError:
        return None  # sshd reports UNKNOWN if the connection is not a socket


def _text(raw: Any) -> str:
    if len(text(raw)) > _MAX_TEXT:
        raise ValueError(f"not a text of at most {_MAX_TEXT} characters: {raw!r:.40}")
    return text(raw)


def _environment(raw: Any) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in raw.items()}


def _absolute_path(raw: Any) -> str:
    if not isinstance(raw, str) or not raw.startswith("/") or not raw.isprintable():
        raise ValueError(f"not an absolute path: {raw!r:.40}")
    return raw


_Text = Annotated[str, _text]


@dataclass(frozen=True)
class Interface:
    """A network interface that is up; `speed` in Mb/s, None if the link does not report one."""

    name: Annotated[str, interface_name]
    addresses: tuple[Annotated[Address, _interface_address], ...]
    speed: Annotated[int, partial(count, limit=_MAX_SPEED)] | None
    loopback: bool


@dataclass(frozen=True)
class Facts:
    """Facts about one node.

    `identity` is the same for two names of one machine. `clock_skew` is by how many seconds the node's
    clock is ahead of the controller's, with an error of up to `clock_error`. `environment` has the
    variables of the node's login environment that orch would otherwise set, or that select GPUs. `gpus` are
    those that the login sees, of `all_gpus` there are; they are NVIDIA's unless `amd`.
    """

    hostname: _Text
    identity: _Text
    uid: Annotated[int, partial(count, limit=_MAX_UID)]
    home: Annotated[str, _absolute_path]
    python_version: _Text
    cpus: Annotated[int, partial(count, limit=_MAX_CPUS)]
    gpus: Annotated[int, partial(count, limit=_MAX_GPUS)]
    rsync: _Text | None
    interfaces: tuple[Interface, ...]
    ssh_address: Annotated[str | None, _ssh_address]
    clock_skew: float
    environment: Annotated[dict[str, str], _environment]
    clock_error: float = 0.0
    all_gpus: Annotated[int, partial(count, limit=_MAX_GPUS)] = 0
    amd: bool = False

    @classmethod
    def parse(cls, raw: dict[str, Any], clock_skew: float, clock_error: float = 0.0) -> Facts:
        """Parse the facts in an agent's answer. Raises one of PARSE_ERRORS if they are invalid."""
        return reader(cls)({**raw, "clock_skew": clock_skew, "clock_error": clock_error})
