"""Pick a port for the rendezvous on this node, so that two runs never pick the same one."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from typing import Optional, Tuple

from . import files


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
    os.makedirs(folder, mode=0o700, exist_ok=True)
    descriptor = files.open_log(os.path.join(folder, str(port)))
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        return descriptor  # a file system without locks: then only the bind guards the port
    return descriptor
