"""Locks of compiled extensions (torch.utils.cpp_extension) that no process holds any more.

A process that compiles one makes the file `lock` beside it, keeps that open, and removes it at the end. If
it is killed, the file stays, and every process that needs the extension then waits for ever.
"""

from __future__ import annotations

import glob
import os
import time
from typing import Any, Dict, List

from ..environment import job_environment
from . import read

_MAX_LOCKS = 20


def locks(environment: Dict[str, str], unset: List[str]) -> List[Dict[str, Any]]:
    """Return the locks that no process here has open, as {"path", "age": seconds since it was made}.

    The processes of other users cannot be inspected, so their locks are left out.
    """
    own: Dict[str, float] = {}  # path -> time
    for path in _lock_files(job_environment(unset, environment)):
        try:
            status = os.stat(path)
        except OSError:
            continue  # it has just been removed
        if status.st_uid == os.getuid():
            own[path] = status.st_mtime
    pids = read.pids("/") if own else []
    is_open = {target for pid in pids for target in read.open_files("/", pid)}
    return [
        {"path": path, "age": max(0.0, time.time() - made)}
        for path, made in own.items()
        if os.path.realpath(path) not in is_open
    ][:_MAX_LOCKS]


def _lock_files(environment: Dict[str, str]) -> List[str]:
    """Return the locks in the folder that torch would use (torch/utils/cpp_extension.py)."""
    own = environment.get("TORCH_EXTENSIONS_DIR")
    if own:
        return sorted(glob.glob(os.path.join(glob.escape(own), "*", "lock")))
    home = environment.get("HOME") or os.path.expanduser("~")
    cache = environment.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    root = os.path.join(glob.escape(cache), "torch_extensions")
    return sorted(glob.glob(os.path.join(root, "*", "*", "lock")))
