"""What a node is, as its agent told it (`node/facts.py`), parsed into one typed value."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

Address = ipaddress.IPv4Interface | ipaddress.IPv6Interface


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
            hostname=str(raw["hostname"]),
            identity=str(raw["identity"]),
            uid=int(raw["uid"]),
            home=_absolute(raw["home"]),
            python_version=str(raw["python_version"]),
            cpus=int(raw["cpus"]),
            gpus=int(raw["gpus"]),
            rsync=None if raw["rsync"] is None else str(raw["rsync"]),
            interfaces=tuple(
                Interface(
                    name=str(entry["name"]),
                    addresses=tuple(ipaddress.ip_interface(item) for item in entry["addresses"]),
                    speed=None if entry["speed"] is None else int(entry["speed"]),
                    loopback=bool(entry["loopback"]),
                )
                for entry in raw["interfaces"]
            ),
            ssh_address=None if raw["ssh_address"] is None else str(raw["ssh_address"]),
            clock_skew=clock_skew,
            environment={str(key): str(value) for key, value in raw["environment"].items()},
            clock_error=clock_error,
        )


def _absolute(path: Any) -> str:
    if not isinstance(path, str) or not path.startswith("/"):
        raise ValueError(f"not an absolute path: {path!r}")
    return path
