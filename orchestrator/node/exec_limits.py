"""Whether the kernel takes the environment and the arguments of a job's processes (execve(2))."""

from __future__ import annotations

import os
import resource
from typing import Any, Dict, List, Mapping, Optional, Sequence

from .environment import environment_of_job

_POINTER = 8  # bytes that each text takes besides its own and its NUL
_LEAST = 128 << 10  # bytes for all together, whatever the limit of the stack
_MOST = 6 << 20  # and three quarters of the usual stack, however large that may be
_PAGES_OF_ONE = 32  # MAX_ARG_STRLEN of linux/binfmts.h
_OWN = 16 << 10  # bytes for what a launcher, the shim and orch itself add for a rank
_NAMED = 3  # of the largest


def fits(env: Dict[str, str], unset: List[str], processes: List[Dict[str, Any]]) -> Optional[Any]:
    """Return None where every process of a job can be started, else what is too large.

    {"one": name of a variable or None for an argument, "size": bytes, "limit": bytes} for a text that is
    too long by itself, {"one": "", "size", "limit", "largest": [[name or None, bytes]]} for all together.
    """
    environment = environment_of_job(unset, env)
    for process in processes:
        found = too_large({**environment, **process["env"]}, process["argv"])
        if found is not None:
            return found
    return None


def too_large(environment: Mapping[str, str], argv: Sequence[str]) -> Optional[Dict[str, Any]]:
    """Return what the kernel would not take of one process, as `fits` does."""
    sizes: List[Any] = [
        [name, len(os.fsencode(name)) + len(os.fsencode(value)) + 2]
        for name, value in environment.items()
    ]
    sizes += [[None, len(os.fsencode(argument)) + 1] for argument in argv]
    sizes.sort(key=lambda pair: pair[1], reverse=True)
    limit = _PAGES_OF_ONE * os.sysconf("SC_PAGE_SIZE")
    name, size = sizes[0]
    if size > limit:
        return {"one": name, "size": size, "limit": limit}
    total = sum(size + _POINTER for _, size in sizes) + _OWN
    if total > limit_of_all():
        return {"one": "", "size": total, "limit": limit_of_all(), "largest": sizes[:_NAMED]}
    return None


def limit_of_all() -> int:
    """Return the bytes that environment and arguments of a process may have together, as things are."""
    stack, _ = resource.getrlimit(resource.RLIMIT_STACK)
    if stack == resource.RLIM_INFINITY:
        return _MOST
    return max(_LEAST, min(_MOST, stack // 4))
