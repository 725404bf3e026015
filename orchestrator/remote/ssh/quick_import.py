"""Import asyncssh without running a compiler.

asyncssh asks ctypes for two libraries that are rarely installed (liboqs, nettle). If the linker's cache
lacks a library, ctypes.util runs gcc and ld to find it, which takes longer than connecting to ten nodes.
Here, a library that is not in the cache counts as absent.
"""

from __future__ import annotations

import ctypes.util
from typing import Any

_COMPILERS = ("_findLib_gcc", "_findLib_ld")  # of CPython on Linux


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
