"""Hosts and facts for tests of plans."""

from __future__ import annotations

import ipaddress
from typing import Any

from orchestrator.inventory import Host
from orchestrator.plan import Facts, Interface


def host(name: str, **more: Any) -> Host:
    return Host(**{"name": name, "address": f"{name}.example", **more})


def interface(name: str, *addresses: str, speed: int | None = None) -> Interface:
    return Interface(
        name, tuple(ipaddress.ip_interface(a) for a in addresses), speed, loopback=name == "lo"
    )


LO = interface("lo", "127.0.0.1/8", "::1/128")
DOCKER = interface("docker0", "172.17.0.1/16")


def facts(identity: str, *interfaces: Interface, **more: Any) -> Facts:
    fields: dict[str, Any] = {
        "hostname": identity,
        "identity": identity,
        "uid": 0,
        "home": "/home/ubuntu",
        "python_version": "3.11.7",
        "cpus": 8,
        "gpus": 0,
        "rsync": "/usr/bin/rsync",
        "interfaces": (LO, *interfaces),
        "ssh_address": None,
        "clock_skew": 0.0,
        "environment": {},
    }
    return Facts(**{**fields, **more})
