"""Namespace and mount calls of Linux that Python 3.11 does not have, by ctypes.

Every function raises OSError with the object it was for.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

# From linux/sched.h.
NEW_MOUNT = 0x00020000
NEW_UTS = 0x04000000
NEW_IPC = 0x08000000
NEW_PID = 0x20000000
NEW_NET = 0x40000000

# From linux/mount.h.
BIND = 0x1000
RECURSIVE = 0x4000
PRIVATE = 0x40000
NO_SUID_DEV_EXEC = 0x2 | 0x4 | 0x8

_MOUNT_SETATTR = 442  # on all architectures; Linux 5.12 and later
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_ATTR_READ_ONLY = 0x1

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttr(ctypes.Structure):
    """struct mount_attr of mount_setattr(2)."""

    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns", ctypes.c_uint64),
    )


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def unshare(kinds: int) -> None:
    """Move this process (its children, for NEW_PID) to new namespaces."""
    _check(_libc.unshare(ctypes.c_int(kinds)), "cannot make namespaces")


@contextmanager
def joined(namespace: str, own: str, kind: int) -> Iterator[None]:
    """Move the calling thread to the namespace at path `namespace`, and back to the one at `own`
    afterwards.

    With NEW_PID, only children of the thread are inside, not the thread itself.
    """
    back = os.open(own, os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(_libc.setns(there, kind), f"cannot enter {namespace}")
        finally:
            os.close(there)
        try:
            yield
        finally:
            _check(_libc.setns(back, kind), f"cannot return to {own}")
    finally:
        os.close(back)


def mount(
    source: str, target: str, *, kind: str | None = None, flags: int = 0, options: str | None = None
) -> None:
    """Call mount(2)."""
    result = _libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        os.fsencode(options) if options else None,
    )
    _check(result, f"cannot mount {source} at {target}")


def set_read_only(target: str, *, recursive: bool) -> None:
    """Make the mount at `target`, or all mounts below it, read-only in this namespace."""
    _set_attributes(target, _MountAttr(set=_ATTR_READ_ONLY), _AT_RECURSIVE if recursive else 0)


def set_writable(target: str) -> None:
    """Make the one mount at `target` writable again."""
    _set_attributes(target, _MountAttr(clear=_ATTR_READ_ONLY), 0)


def _set_attributes(target: str, attributes: _MountAttr, flags: int) -> None:
    result = _libc.syscall(
        ctypes.c_long(_MOUNT_SETATTR),
        ctypes.c_int(_AT_FDCWD),
        os.fsencode(target),
        ctypes.c_uint(flags),
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )
    _check(result, f"cannot change the mount at {target}")
