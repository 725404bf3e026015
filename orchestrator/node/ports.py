"""Pick a port for the rendezvous here, so that two runs never pick the same one; tell who has one."""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import os
import socket
import struct
from typing import Any, Dict, Iterator, Optional, Tuple

from . import files
from .probes import read

_LISTENING = "0A"  # TCP_LISTEN of the kernel's net/tcp_states.h


def reserve(address: str, preferred: int, exact: bool) -> Tuple[Optional[int], Optional[int]]:
    """Return (port, lock descriptor): `preferred` on `address` if it is free, else another free port.

    Whoever holds the descriptor holds the port against other runs of orch (it survives a fork, so the
    supervisor holds it as long as the run lives). With `exact`, (None, None) when it is taken.
    Raises OSError when `address` is not one of this node's.
    """
    for candidate in [preferred] if exact else [preferred, *([0] * 20)]:
        port = _bindable(address, candidate)
        if port is None:
            continue
        lock = _lock(port)
        if lock is not None:
            return port, lock
    return None, None


def _bindable(address: str, port: int) -> Optional[int]:
    family, kind, protocol, _, target = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[
        0
    ]
    with socket.socket(family, kind, protocol) as probe:
        # A socket of an ended run in TIME_WAIT does not stop torch's store, which sets this too.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(target)
            probe.listen(1)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return None
            raise
        found: int = probe.getsockname()[1]
        return found


def _lock(port: int) -> Optional[int]:
    # The home may serve several nodes: each has a folder of its own.
    folder = os.path.join(files.state_root(), "ports", socket.gethostname())
    files.make_folder(folder)
    descriptor = files.open_log(os.path.join(folder, str(port)))
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        return descriptor  # a file system without locks: then only the bind guards the port
    return descriptor


def owner(address: str, port: int, root: str = "/") -> Optional[Dict[str, Any]]:
    """Return {"user", "pid", "command", "run"} of who listens on `port`, on `address` or on all; None for
    nobody.

    "run" is orch's name of its run, if it has one. All but the user are null where it is another user's
    and this is not root.
    """
    target = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][4]
    wanted = ipaddress.ip_address(str(target[0]).partition("%")[0])
    for listening, uid, inode in _listeners(root, port):
        if listening == wanted or listening.is_unspecified or wanted.is_unspecified:
            pid = _holder(root, "socket:[{}]".format(inode))
            command = None if pid is None else read.command(root, pid)
            run = None if pid is None else read.run(root, pid)
            return {"user": read.user(uid), "pid": pid, "command": command, "run": run}
    return None


def _listeners(root: str, port: int) -> Iterator[Tuple[Any, int, str]]:
    """Yield (address, user id, inode) of every listening socket of this port (proc_net_tcp.rst)."""
    for name in ("tcp", "tcp6"):
        for line in (read.text(root, "/proc/net/" + name) or "").splitlines()[1:]:
            fields = line.split()
            place, _, hexadecimal = fields[1].partition(":")
            if fields[3] == _LISTENING and int(hexadecimal, 16) == port:
                # Words of four bytes, each in this machine's order.
                words = struct.unpack(">{:d}I".format(len(place) // 8), bytes.fromhex(place))
                found = ipaddress.ip_address(struct.pack("={:d}I".format(len(words)), *words))
                mapped = getattr(found, "ipv4_mapped", None)
                yield mapped or found, int(fields[7]), fields[9]


def _holder(root: str, link: str) -> Optional[int]:
    """Return the process that has a descriptor with this name."""
    for pid in read.names(root, "/proc"):
        folder = "/proc/{}/fd".format(pid)
        for descriptor in read.names(root, folder) if pid.isdigit() else ():
            if read.link(root, folder + "/" + descriptor) == link:
                return int(pid)
    return None
