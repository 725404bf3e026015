"""The interfaces of this node and the way to an address, as the kernel says (rtnetlink(7))."""

from __future__ import annotations

import os
import socket
import struct
from typing import Any, Dict, Iterator, List, Optional, Tuple

_RTM_GETADDR, _NLMSG_DONE, _NLMSG_ERROR = 22, 3, 2
_NLM_F_REQUEST_DUMP = 0x301
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ADDRESS = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, interface index
_ATTRIBUTE = struct.Struct("=HH")
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_SCOPE_LINK = 253


def interfaces() -> List[Dict[str, Any]]:
    """Return the interfaces that are up and have addresses.

    Each is {"name", "addresses": ["198.18.0.2/24", ...], "speed": Mb/s or null, "loopback": bool};
    link-local addresses, which no other node can be told, are left out.
    """
    found: Dict[str, Dict[str, Any]] = {}
    for name, address in addresses():
        if not _is_up(name):
            continue
        entry = found.setdefault(
            name,
            {"name": name, "addresses": [], "speed": _speed(name), "loopback": name == "lo"},
        )
        entry["addresses"].append(address)
    return list(found.values())


def route(address: str) -> Dict[str, Optional[str]]:
    """Return {"source", "interface"} that packets to `address` would take; null where there is no way.

    Nothing is sent: connecting a UDP socket only asks the routing table.
    """
    family, kind, protocol, _, target = socket.getaddrinfo(address, 9, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        try:
            probe.connect(target)
        except OSError:
            return {"source": None, "interface": None}
        source = probe.getsockname()[0]
    for entry in interfaces():
        if source in (item.split("/")[0] for item in entry["addresses"]):
            return {"source": source, "interface": entry["name"]}
    return {"source": source, "interface": None}


def ssh_address() -> Optional[str]:
    """Return this node's own end of the SSH connection: an address of its own, also behind NAT."""
    fields = os.environ.get("SSH_CONNECTION", "").split()
    return fields[2] if len(fields) == 4 else None


def addresses() -> Iterator[Tuple[str, str]]:
    """Yield (interface, "198.18.0.2/24") of every address of this node that is not link-local."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        netlink.settimeout(5.0)
        netlink.bind((0, 0))
        body = _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        length = _HEADER.size + len(body)
        netlink.send(_HEADER.pack(length, _RTM_GETADDR, _NLM_F_REQUEST_DUMP, 1, 0) + body)
        while True:
            data = netlink.recv(1 << 17)
            position = 0
            while position < len(data):
                length, kind, _, _, _ = _HEADER.unpack_from(data, position)
                if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                    return
                found = _parse_address(data[position + _HEADER.size : position + length])
                if found is not None:
                    yield found
                position += (length + 3) & ~3


def _parse_address(message: bytes) -> Optional[Tuple[str, str]]:
    family, prefix, _, scope, index = _ADDRESS.unpack_from(message)
    if scope == _SCOPE_LINK or family not in (socket.AF_INET, socket.AF_INET6):
        return None
    attributes = {}
    position = _ADDRESS.size
    while position < len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, position)
        attributes[kind] = message[position + _ATTRIBUTE.size : position + length]
        position += (length + 3) & ~3
    raw = attributes.get(_IFA_LOCAL, attributes.get(_IFA_ADDRESS))  # LOCAL is ours on a peer link
    if raw is None:
        return None
    try:
        name = socket.if_indextoname(index)
    except OSError:
        return None  # the interface went away just now
    return name, "{}/{:d}".format(socket.inet_ntop(family, raw), prefix)


def _is_up(name: str) -> bool:
    state = _sys(name, "operstate")
    return state in ("up", "unknown")  # loopback, tunnels and some virtual links say "unknown"


def _speed(name: str) -> Optional[int]:
    """Return what the link says, where there is a device to it: what a veth says is made up."""
    folder = "/sys/class/net/{}".format(name)
    try:
        below = [entry for entry in os.listdir(folder) if entry.startswith("lower_")]  # bond, VLAN
    except OSError:
        return None
    places = [folder, *(os.path.join(folder, entry) for entry in below)]
    if not any(os.path.exists(os.path.join(place, "device")) for place in places):
        return None
    value = _sys(name, "speed")
    return int(value) if value is not None and value.isdigit() else None


def _sys(name: str, attribute: str) -> Optional[str]:
    try:
        with open("/sys/class/net/{}/{}".format(name, attribute), encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return None  # no such interface in this /sys, or EINVAL: the link has no such value
