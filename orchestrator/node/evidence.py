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
from .probes import kernel_log, limits, memory
from .probes.setting import group_of, record_of

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
    "file_limit": bytes, "source": text, "counter": path, "group": {"path", "limit", "used"}}.

    Each is null, or empty, if there is nothing. `full` are those of the run's folder, its `workdir` and
    /tmp that have no space left, and `file_limit` is RLIMIT_FSIZE, which a run inherits from the agent. The
    kernel's log is only read for a rank that was `killed`: the lines since it began that may concern it;
    `source` is where, or `why` says why it cannot be read. `counter` is the file that counts kills in the
    memory group of the rank, `group` the tightest limit on its memory, in bytes.
    """
    folder = files.attempt_folder(files.run_directory(run, node), attempt)
    record = record_of(run, node, attempt, rank)
    source, lines, why = _kernel_log(record.get("started", 0.0)) if killed else (None, None, None)
    oom_kills = record.get("oom_kills")
    group = group_of(record, "memory") if killed else None
    limited = None if group is None else memory.tightest("/", group)
    return {
        "error_file": _read(record.get("error_file")),
        "oom_kills": oom_kills if records.is_count(oom_kills) else None,
        "kernel": lines,
        "why": why,
        "full": [path for path in (folder, workdir, "/tmp") if path and _is_full(path)],
        "file_limit": limits.limit(resource.RLIMIT_FSIZE)[0],
        "source": source,
        "counter": None if group is None else memory.oom_counter(group),
        "group": limited if isinstance(limited, dict) else None,
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


def _kernel_log(since: float) -> Tuple[Optional[str], Optional[List[str]], Optional[str]]:
    """Return where it was read and the relevant lines since this time; or None, None, and why it is of no
    use.
    """
    if os.stat("/proc/self/ns/pid").st_ino != _INITIAL_NAMESPACE:
        return None, None, "in a container, the kernel's log numbers processes in another way"
    began = time.clock_gettime(time.CLOCK_MONOTONIC) - (time.time() - since) - 1.0
    source, lines, why = kernel_log.lines()
    if source is None:
        return None, None, why
    found = [line.text for line in lines if line.at >= began and _RELEVANT.search(line.text)]
    return source, [text[:_MAX_LINE] for text in found[-_MAX_LINES:]], None
