"""What this node knows of the end of a rank, beside what the rank printed.

The file in which torch's `record` keeps a rank's exception, how many processes the kernel killed for lack
of memory while the rank ran, and what the kernel's log has to say.
"""

from __future__ import annotations

import os
import re
import resource
import stat
import time
from typing import Any, List, Optional, Tuple

from . import files, records
from .probes import kernel_log
from .tasks import Tell

_LONGEST_ERROR = 1 << 18  # bytes of an error file
_MOST_LINES = 200
_NO_ROOM = 1 << 20  # bytes; a file system that is used has more
_LONGEST_LINE = 500
_TELLING = re.compile(r"kill|oom|out of memory|segfault|general protection|trap|Xid|MCE", re.I)
_INITIAL_NAMESPACE = 0xEFFFFFFC  # linux/proc_ns.h: PROC_PID_INIT_INO


def evidence(
    tell: Tell,
    limit: float,
    run: str,
    node: str,
    attempt: int,
    rank: int,
    killed: bool,
    workdir: str = "",
) -> None:
    """Tell {"error_file": text, "oom_kills": count, "kernel": [line], "why": text, "full": [path],
    "file_limit": bytes}.

    Each is null, or empty, where there is nothing to be had. `full` are those of the run's folder, its
    `workdir` and /tmp that have no room left, and `file_limit` is RLIMIT_FSIZE. The kernel's log is only
    read for a rank that was `killed`: the lines since it began that may be about it; `why` says why there
    are none to be seen.
    """
    folder = os.path.join(files.run_directory(run, node), files.attempt_name(attempt))
    try:
        record = records.read_rank(os.path.join(folder, "rank-{:d}.json".format(rank))) or {}
    except OSError:
        record = {}  # a script has made it unreadable
    lines, why = _kernel_log(record.get("started", 0.0)) if killed else (None, None)
    tell(
        {
            "error_file": _read(record.get("error_file")),
            "oom_kills": record.get("oom_kills")
            if records.is_count(record.get("oom_kills"))
            else None,
            "kernel": lines,
            "why": why,
            "full": [path for path in (folder, workdir, "/tmp") if path and _is_full(path)],
            "file_limit": _file_limit(),
        }
    )


def _is_full(path: str) -> bool:
    """Tell whether next to nothing can be written below `path`: what a failure freed does not count."""
    try:
        disk = os.statvfs(path)
    except OSError:
        return False  # it is gone, or the file server does not answer
    has_no_files = disk.f_files > 0 and disk.f_favail == 0
    return has_no_files or disk.f_bavail * disk.f_frsize < _NO_ROOM


def _file_limit() -> Optional[int]:
    """Return how many bytes a file of the job may have; a run inherits that from the agent."""
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return None if soft == resource.RLIM_INFINITY else soft


def _read(path: Any) -> Optional[str]:
    """Return what a file holds, None for what is none: a script may have put anything there."""
    if not isinstance(path, str):
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None  # the rank wrote none
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        return os.read(descriptor, _LONGEST_ERROR).decode("utf-8", "replace")
    except OSError:
        return None  # of a file server that does not answer
    finally:
        os.close(descriptor)


def _kernel_log(since: float) -> Tuple[Optional[List[str]], Optional[str]]:
    """Return the telling lines since this time, or None and why there are none to be seen."""
    if os.stat("/proc/self/ns/pid").st_ino != _INITIAL_NAMESPACE:
        return None, "in a container, the kernel's log numbers processes in another way"
    began = time.clock_gettime(time.CLOCK_MONOTONIC) - (time.time() - since) - 1.0
    source, lines, why = kernel_log.lines()
    if source is None:
        return None, why
    telling = [line.text for line in lines if line.at >= began and _TELLING.search(line.text)]
    return [text[:_LONGEST_LINE] for text in telling[-_MOST_LINES:]], None
