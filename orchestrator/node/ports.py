"""Reserve a port for the rendezvous, so that two runs never pick the same one, and find who uses a port."""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import os
import socket
from typing import Any, Dict, Optional, Tuple

from . import files, network, sockets
from .probes import read

_MAX_TRIES = 20


def reserve(address: str, preferred: int, exact: bool) -> Tuple[Optional[int], Optional[int]]:
    """Return (port, lock descriptor): `preferred` on `address` if it is free, else another free port.

    The process that holds the descriptor holds the port against other runs of orch; it survives a fork, so
    the supervisor holds it as long as the run lives. With `exact`, (None, None) if the port is taken.
    Raises OSError if `address` is not one of this node's.
    """
    for candidate in [preferred] if exact else [preferred, *([0] * _MAX_TRIES)]:
        try:
            with network.listener(address, candidate, backlog=1) as probe:
                port = probe.getsockname()[1]
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                continue
            raise
        lock = _lock(port)
        if lock is not None:
            return port, lock
    return None, None


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
        return descriptor  # a file system without locks: then only binding guards the port
    return descriptor


def owner(address: str, port: int, root: str = "/") -> Optional[Dict[str, Any]]:
    """Return {"user", "pid", "command", "run"} of the process that listens on `port`, on `address` or on
    all addresses; None if there is none.

    "run" is orch's name of its run, if it has one. Of another user's process only the user is known, and
    the others are null, unless this is root.
    """
    target = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][4]
    wanted = ipaddress.ip_address(str(target[0]).partition("%")[0])
    for found in sockets.table(root):
        if (found.state, found.local[1]) != (sockets.LISTENING, port):
            continue
        listening = ipaddress.ip_address(found.local[0])
        if listening == wanted or listening.is_unspecified or wanted.is_unspecified:
            pid = next(
                (pid for pid in read.pids(root) if found.link in read.open_files(root, pid)), None
            )
            command = None if pid is None else read.command(root, pid)
            run = None if pid is None else read.run(root, pid)
            return {"user": read.user(found.uid), "pid": pid, "command": command, "run": run}
    return None
