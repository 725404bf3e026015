"""Evidence on this node of why a rank ended, besides its output.

The file in which torch's `record` keeps a rank's exception, how many processes the kernel killed for lack
of memory while the rank ran, full disks, and lines of the kernel's log.
"""

from __future__ import annotations

import os
import re
import resource
import stat
import time
from typing import Any, Dict, List, Optional, Tuple

from . import files, records
from .probes import kernel_log, limits

_MAX_ERROR_BYTES = 1 << 18  # of an error file
_MAX_LINES = 200
_MAX_LINE = 500  # characters
_FULL_BELOW = 1 << 20  # bytes free; a disk that is not full has more
_RELEVANT = re.compile(r"kill|oom|out of memory|segfault|general protection|trap|Xid|MCE", re.I)
_INITIAL_NAMESPACE = 0xEFFFFFFC  # linux/proc_ns.h: PROC_PID_INIT_INO


def evidence(
    limit: float, run: str, node: str, attempt: int, rank: int, killed: bool, workdir: str = ""
) -> Dict[str, Any]:
    """Return {"error_file": text, "oom_kills": count, "kernel": [line], "why": text, "full": [path],
    "file_limit": bytes}.

    Each is null, or empty, if there is nothing. `full` are those of the run's folder, its `workdir` and
    /tmp that have no space left, and `file_limit` is RLIMIT_FSIZE, which a run inherits from the agent. The
    kernel's log is only read for a rank that was `killed`: the lines since it began that may concern it;
    `why` is why it cannot be read.
    """
    folder = files.attempt_folder(files.run_directory(run, node), attempt)
    path = os.path.join(folder, "rank-{:d}.json".format(rank))
    record = records.try_read(records.read_rank, path) or {}
    lines, why = _kernel_log(record.get("started", 0.0)) if killed else (None, None)
    oom_kills = record.get("oom_kills")
    return {
        "error_file": _read(record.get("error_file")),
        "oom_kills": oom_kills if records.is_count(oom_kills) else None,
        "kernel": lines,
        "why": why,
        "full": [path for path in (folder, workdir, "/tmp") if path and _is_full(path)],
        "file_limit": limits.limit(resource.RLIMIT_FSIZE)[0],
    }


def _is_full(path: str) -> bool:
    """Return whether almost nothing can be written below `path`, even if a failure has freed a little."""
    try:
        disk = os.statvfs(path)
    except OSError:
        return False  # it is gone, or the file server does not answer
    has_no_files = disk.f_files > 0 and disk.f_favail == 0
    return has_no_files or disk.f_bavail * disk.f_frsize < _FULL_BELOW


def _read(path: Any) -> Optional[str]:
    """Return the text of a file; None for anything else that a script may have put there."""
    if not isinstance(path, str):
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None  # the rank wrote none
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        return os.read(descriptor, _MAX_ERROR_BYTES).decode("utf-8", "replace")
    except OSError:
        return None  # the file server does not answer
    finally:
        os.close(descriptor)


def _kernel_log(since: float) -> Tuple[Optional[List[str]], Optional[str]]:
    """Return the relevant lines since this time, or None and why the log is of no use."""
    if os.stat("/proc/self/ns/pid").st_ino != _INITIAL_NAMESPACE:
        return None, "in a container, the kernel's log numbers processes in another way"
    began = time.clock_gettime(time.CLOCK_MONOTONIC) - (time.time() - since) - 1.0
    source, lines, why = kernel_log.lines()
    if source is None:
        return None, why
    found = [line.text for line in lines if line.at >= began and _RELEVANT.search(line.text)]
    return [text[:_MAX_LINE] for text in found[-_MAX_LINES:]], None
