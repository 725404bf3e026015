"""Every interface of this node, up or down, as /sys/class/net shows it."""

from __future__ import annotations

import os
from typing import Any, Dict, Iterable, List, Optional, Set, Tuple

from .. import network
from . import infiniband, read

_CLASS = "/sys/class/net"
_UP = 0x1  # IFF_UP of linux/if.h


def interfaces(
    root: str = "/", addresses: Optional[Iterable[Tuple[str, str]]] = None
) -> List[Dict[str, Any]]:
    """Return the interfaces in the order of their indices, which is that of getifaddrs(3).

    Each is {"name", "addresses": ["198.18.0.2/24", ...], "mtu", "speed" in Mb/s, "duplex", "device",
    "running", "roce", "arp_ignore", "arp_announce"}: "device" is whether there is hardware (or a
    hypervisor's) behind it, "running" whether a program sees it as IFF_RUNNING, "roce" the RDMA devices
    whose packets go by it. What the kernel does not tell is null.
    """
    own: Dict[str, List[str]] = {}
    for name, address in network.addresses() if addresses is None else addresses:
        own.setdefault(name, []).append(address)
    roce = _roce(root)
    found = [
        _interface(root, name, own.get(name, []), sorted(roce.get(name, ())))
        for name in read.names(root, _CLASS)
        if os.path.isdir(read.below(root, "{}/{}".format(_CLASS, name)))  # not bonding_masters
    ]
    found.sort(key=lambda entry: _number(root, entry["name"], "ifindex") or 0)
    return found


def _interface(root: str, name: str, addresses: List[str], roce: List[str]) -> Dict[str, Any]:
    state = _text(root, name, "operstate")
    return {
        "name": name,
        "addresses": addresses,
        "mtu": _number(root, name, "mtu"),
        "speed": _number(root, name, "speed"),
        "duplex": _text(root, name, "duplex"),
        "device": os.path.exists(read.below(root, "{}/{}/device".format(_CLASS, name))),
        # As the kernel has it for getifaddrs(3); /sys has the flags without it.
        "running": state in ("up", "unknown") and _is_up(root, name),
        "roce": roce,
        "arp_ignore": _setting(root, name, "arp_ignore"),
        "arp_announce": _setting(root, name, "arp_announce"),
    }


def _setting(root: str, name: str, key: str) -> int:
    """Return what the kernel goes by: the larger of what is set for all and for this interface."""
    texts = [read.text(root, "/proc/sys/net/ipv4/conf/{}/{}".format(n, key)) for n in ("all", name)]
    return max(int(text) if text in ("0", "1", "2", "3", "8") else 0 for text in texts)


def _is_up(root: str, name: str) -> bool:
    try:
        return bool(int(_text(root, name, "flags") or "", 16) & _UP)
    except ValueError:
        return False


def _roce(root: str) -> Dict[str, Set[str]]:
    """Return the RDMA devices by the interface that their packets go by, where that is Ethernet."""
    found: Dict[str, Set[str]] = {}
    for device in infiniband.infiniband(root)["devices"]:
        for port in device["ports"]:
            if port["layer"] != "Ethernet":
                continue
            # The table of GIDs names a VLAN or a bond on the port, too.
            for name in [*device["interfaces"], *(gid["interface"] for gid in port["gids"])]:
                found.setdefault(name or "", set()).add(device["name"])
    return found


def _text(root: str, name: str, attribute: str) -> Optional[str]:
    return read.text(root, "{}/{}/{}".format(_CLASS, name, attribute)) or None


def _number(root: str, name: str, attribute: str) -> Optional[int]:
    """Return what is a natural number there: a speed that is not known is -1, or EINVAL."""
    text = _text(root, name, attribute)
    return int(text) if text is not None and text.isdigit() and len(text) < 12 else None
