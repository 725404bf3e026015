"""The interfaces of this node, the route to an address, and listening sockets (rtnetlink(7))."""

from __future__ import annotations

import os
import socket
import struct
from typing import Any, Dict, Iterator, List, Optional, Tuple

from .probes import read

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
    link-local addresses, which mean nothing to other nodes, are left out.
    """
    found: Dict[str, List[str]] = {}
    for name, address in addresses():
        found.setdefault(name, []).append(address)
    return [
        {"name": name, "addresses": own, "speed": _speed(name), "loopback": name == "lo"}
        for name, own in found.items()
        if _read(name, "operstate") in ("up", "unknown")  # "unknown": loopback, tunnels
    ]


def route(address: str) -> Dict[str, Optional[str]]:
    """Return {"source", "interface"} that packets to `address` would take; null without a route.

    Nothing is sent: connecting a UDP socket only looks into the routing table.
    """
    probe, target = resolve(address, 9, socket.SOCK_DGRAM)
    with probe:
        try:
            probe.connect(target)
        except OSError:
            return {"source": None, "interface": None}
        source = probe.getsockname()[0]
    found = {
        item.partition("/")[0]: each["name"] for each in interfaces() for item in each["addresses"]
    }
    return {"source": source, "interface": found.get(source)}


def resolve(address: str, port: int, kind: int = socket.SOCK_STREAM) -> Tuple[socket.socket, Any]:
    """Return a new socket for `address`, and the address in the socket's form. Raises OSError."""
    family, kind, protocol, _, target = socket.getaddrinfo(address, port, type=kind)[0]
    return socket.socket(family, kind, protocol), target


def listener(address: str, port: int, backlog: int) -> socket.socket:
    """Return a socket that listens on `address`; port 0 is a free one. Raises OSError."""
    found, target = resolve(address, port)
    try:
        # As torch's store does: connections of an ended run in TIME_WAIT do not block the port.
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if found.family == socket.AF_INET6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        found.bind(target)
        found.listen(backlog)
    except OSError:
        found.close()
        raise
    return found


def ssh_address() -> Optional[str]:
    """Return this node's end of the SSH connection: an address of its own, also behind NAT."""
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
    raw = attributes.get(_IFA_LOCAL, attributes.get(_IFA_ADDRESS))  # on a peer link LOCAL is ours
    if raw is None:
        return None
    try:
        name = socket.if_indextoname(index)
    except OSError:
        return None  # the interface has just gone
    return name, "{}/{:d}".format(socket.inet_ntop(family, raw), prefix)


def _speed(name: str) -> Optional[int]:
    """Return the speed that the link reports, if there is a device: what a veth reports is made up."""
    folder = "/sys/class/net/{}/".format(name)
    lower = [
        entry + "/" for entry in read.names("/", folder) if entry.startswith("lower_")
    ]  # bond, VLAN
    if not any(os.path.exists(folder + below + "device") for below in ["", *lower]):
        return None
    value = _read(name, "speed") or ""
    return int(value) if value.isdigit() else None


def _read(name: str, attribute: str) -> Optional[str]:
    """Return an attribute; None if this /sys has no such interface, or the link no such value (EINVAL)."""
    return read.text("/", "/sys/class/net/{}/{}".format(name, attribute))
