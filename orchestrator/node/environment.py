"""The environment of a job's processes, and whether it fits, with the arguments, the kernel's limits."""

from __future__ import annotations

import os
import resource
from typing import Any, Dict, List, Mapping, Optional, Sequence

_POINTER_BYTES = 8  # that each string takes besides its own bytes and its NUL
_MIN_TOTAL = 128 << 10  # bytes of all together, whatever the limit of the stack
_MAX_TOTAL = 6 << 20  # three quarters of the usual stack, however large the stack may be
_MAX_STRING_PAGES = 32  # MAX_ARG_STRLEN of linux/binfmts.h
_OWN_BYTES = 16 << 10  # that a launcher, the shim and orch itself add for a rank
_MAX_NAMED = 3  # of the largest
# What Slurm says of the job. The rest is about one task of one step, which a rank is not: Lightning and
# others would take rank and world size from there.
_SLURM_JOB = frozenset((
    "SLURM_CLUSTERS", "SLURM_CLUSTER_NAME", "SLURM_CONF", "SLURM_CPUS_PER_TASK", "SLURM_JOBID",
    "SLURM_JOB_ACCOUNT", "SLURM_JOB_END_TIME", "SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_JOB_PARTITION",
    "SLURM_JOB_QOS", "SLURM_JOB_START_TIME", "SLURM_JOB_USER", "SLURM_RESTART_COUNT", "SLURM_SUBMIT_DIR",
    "SLURM_SUBMIT_HOST", "SLURM_TMPDIR",
))  # fmt: skip


def job_environment(unset: List[str], given: Dict[str, str]) -> Dict[str, str]:
    """Return the environment of a job's process: that of the login, overridden by `given`.

    Without the variables in `unset`, without those that torchrun would take for its options, and without
    those that say that the process is a task of Slurm.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in unset and not name.startswith("PET_") and not is_of_slurm_step(name)
    }
    return {**inherited, **given}


def is_of_slurm_step(name: str) -> bool:
    """Return whether a variable describes a task or step of Slurm, not the job and its array."""
    if name.startswith(("PMI_", "PMIX_", "SLURMD_")):
        return True
    return (
        name.startswith("SLURM_") and name not in _SLURM_JOB and not name.startswith("SLURM_ARRAY_")
    )


def fits(env: Dict[str, str], unset: List[str], processes: List[Dict[str, Any]]) -> Optional[Any]:
    """Return None if every process of a job can be started (execve(2)), else what is too large.

    {"one": name of a variable or None for an argument, "size": bytes, "limit": bytes} for a string that is
    too long by itself, {"one": "", "size", "limit", "largest": [[name or None, bytes]]} for all together.
    """
    environment = job_environment(unset, env)
    checks = (too_large({**environment, **each["env"]}, each["argv"]) for each in processes)
    return next((found for found in checks if found is not None), None)


def too_large(environment: Mapping[str, str], argv: Sequence[str]) -> Optional[Dict[str, Any]]:
    """Return what the kernel would not accept for one process, as `fits` does."""
    sizes: List[Any] = [
        [name, len(os.fsencode(name)) + len(os.fsencode(value)) + 2]
        for name, value in environment.items()
    ]
    sizes += [[None, len(os.fsencode(argument)) + 1] for argument in argv]
    sizes.sort(key=lambda pair: pair[1], reverse=True)
    limit = _MAX_STRING_PAGES * os.sysconf("SC_PAGE_SIZE")
    name, size = sizes[0]
    if size > limit:
        return {"one": name, "size": size, "limit": limit}
    total = sum(size + _POINTER_BYTES for _, size in sizes) + _OWN_BYTES
    if total > total_limit():
        return {"one": "", "size": total, "limit": total_limit(), "largest": sizes[:_MAX_NAMED]}
    return None


def total_limit() -> int:
    """Return the bytes that environment and arguments of a process may have together, at present."""
    stack, _ = resource.getrlimit(resource.RLIMIT_STACK)
    if stack == resource.RLIM_INFINITY:
        return _MAX_TOTAL
    return max(_MIN_TOTAL, min(_MAX_TOTAL, stack // 4))
