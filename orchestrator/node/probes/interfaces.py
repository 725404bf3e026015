"""The network interfaces of this node, up or down, as /sys/class/net shows them."""

from __future__ import annotations

import os
from typing import Any, Dict, Iterable, List, Optional, Set, Tuple

from .. import network
from . import infiniband, read

_CLASS = "/sys/class/net"
_UP, _NO_ARP = 0x1, 0x80  # IFF_UP and IFF_NOARP of linux/if.h


def interfaces(
    root: str = "/", addresses: Optional[Iterable[Tuple[str, str]]] = None
) -> List[Dict[str, Any]]:
    """Return the interfaces in the order of their indices, which is that of getifaddrs(3).

    Each is {"name", "addresses": ["198.18.0.2/24", ...], "mtu", "speed" in Mb/s, "duplex", "device",
    "running", "roce", "arp_ignore", "arp_announce"}: "device" is whether it has hardware (or a hypervisor's
    device), "running" whether programs see it as IFF_RUNNING, "roce" the RDMA devices that use it. What the
    kernel does not show is null.
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
        # As getifaddrs(3) reports it; the flags in /sys do not have it.
        "running": state in ("up", "unknown") and bool((_flags(root, name) or 0) & _UP),
        "roce": roce,
        "arp_ignore": _setting(root, name, "arp_ignore"),
        "arp_announce": _setting(root, name, "arp_announce"),
    }


def _setting(root: str, name: str, key: str) -> int:
    """Return the value that the kernel uses: the larger of those for all and for this interface."""
    texts = [read.text(root, "/proc/sys/net/ipv4/conf/{}/{}".format(n, key)) for n in ("all", name)]
    return max(int(text) if text in ("0", "1", "2", "3", "8") else 0 for text in texts)


def link(interface: Optional[str], root: str = "/") -> Optional[Dict[str, Any]]:
    """Return {"up", "carrier", "arp"} of an interface; None if there is no such interface.

    "up" is whether it is switched on, "carrier" whether there is a signal (null if it is off), "arp"
    whether it answers when asked for its address.
    """
    flags = None if interface is None else _flags(root, interface)
    if interface is None or flags is None:
        return None
    carrier = _text(root, interface, "carrier")
    return {
        "up": bool(flags & _UP),
        "carrier": None if carrier not in ("0", "1") else carrier == "1",
        "arp": not flags & _NO_ARP,
    }


def _flags(root: str, name: str) -> Optional[int]:
    try:
        return int(_text(root, name, "flags") or "", 16)
    except ValueError:
        return None


def _roce(root: str) -> Dict[str, Set[str]]:
    """Return the RDMA devices that use Ethernet, by the interface of their packets."""
    found: Dict[str, Set[str]] = {}
    for device in infiniband.infiniband(root)["devices"]:
        for port in device["ports"]:
            if port["layer"] != "Ethernet":
                continue
            # The table of GIDs also names a VLAN or a bond on the port.
            for name in [*device["interfaces"], *(gid["interface"] for gid in port["gids"])]:
                found.setdefault(name or "", set()).add(device["name"])
    return found


def _text(root: str, name: str, attribute: str) -> Optional[str]:
    return read.text(root, "{}/{}/{}".format(_CLASS, name, attribute)) or None


def _number(root: str, name: str, attribute: str) -> Optional[int]:
    """Return an attribute that is a natural number: an unknown speed is -1, or EINVAL."""
    text = _text(root, name, attribute)
    return int(text) if text is not None and text.isdigit() and len(text) < 12 else None
