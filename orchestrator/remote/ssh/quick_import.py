"""Import asyncssh without running a compiler.

As asyncssh is imported it asks ctypes for two libraries that are rarely there (liboqs, nettle). What the
linker's cache does not know, Python's ctypes.util looks for by running gcc and ld: more work at every
start than connecting to ten nodes. Here, what the cache does not know is taken as absent.
"""

from __future__ import annotations

import ctypes.util
from typing import Any

_COMPILERS = ("_findLib_gcc", "_findLib_ld")  # CPython's, on Linux; elsewhere there are none


def _import_asyncssh() -> None:
    searches: dict[str, Any] = {
        name: getattr(ctypes.util, name) for name in _COMPILERS if hasattr(ctypes.util, name)
    }
    for name in searches:
        setattr(ctypes.util, name, lambda library: None)
    try:
        import asyncssh  # noqa: F401
    finally:
        for name, search in searches.items():
            setattr(ctypes.util, name, search)


_import_asyncssh()
