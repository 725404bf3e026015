"""Locks of compiled extensions (torch.utils.cpp_extension) that nobody holds any more.

Whoever compiles one makes the file `lock` beside it, keeps that open, and removes it in the end. One that
was killed leaves it, and every process that needs the extension then waits for ever.
"""

from __future__ import annotations

import glob
import os
import time
from typing import Any, Dict, List, Set

from ..environment import environment_of_job

_MOST = 20


def locks(environment: Dict[str, str], unset: List[str]) -> List[Dict[str, Any]]:
    """Return the locks that no process here has open, as {"path", "age": seconds since it was made}.

    The processes of other users cannot be looked into; a lock that is another user's is left out.
    """
    found = [path for path in _lock_files(environment_of_job(unset, environment)) if _is_ours(path)]
    held = _open_files(set(found)) if found else set()
    return [
        {"path": path, "age": max(0.0, time.time() - _made(path))}
        for path in found
        if path not in held
    ][:_MOST]


def _lock_files(environment: Dict[str, str]) -> List[str]:
    """Return the locks in the folder that torch would use (torch/utils/cpp_extension.py)."""
    own = environment.get("TORCH_EXTENSIONS_DIR")
    if own:
        return sorted(glob.glob(os.path.join(glob.escape(own), "*", "lock")))
    home = environment.get("HOME") or os.path.expanduser("~")
    cache = environment.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    root = os.path.join(glob.escape(cache), "torch_extensions")
    return sorted(glob.glob(os.path.join(root, "*", "*", "lock")))


def _is_ours(path: str) -> bool:
    try:
        return os.stat(path).st_uid == os.getuid()
    except OSError:
        return False  # it has just been removed


def _made(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return time.time()


def _open_files(paths: Set[str]) -> Set[str]:
    """Return those of `paths` that a process of this user has open."""
    wanted = {os.path.realpath(path): path for path in paths}
    held = set()
    for link in glob.iglob("/proc/[0-9]*/fd/*"):
        try:
            target = os.readlink(link)
        except OSError:
            continue  # it was closed, or is somebody else's
        if target in wanted:
            held.add(wanted[target])
    return held
