"""Get the stacks of processes from py-spy, which reads their memory without disturbing them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from typing import Dict, List, Optional, Tuple

from . import parse_dumps

_MAX_AT_ONCE = 8
_PROCESS_TIMEOUT = 10.0  # seconds for one process: py-spy reads the symbols of all of its libraries


def find_spy() -> Optional[str]:
    """Return the path of py-spy, beside this interpreter (the job's) or in PATH; None if there is none."""
    beside = os.path.join(os.path.dirname(sys.executable), "py-spy")
    return beside if os.access(beside, os.X_OK) else shutil.which("py-spy")


def spy_on(
    spy: str, pids: List[int], until: float
) -> Tuple[Dict[int, List[parse_dumps.Thread]], Dict[int, str]]:
    """Return the threads of each of `pids`, and why there are none of the others.

    Takes no longer than `until` (monotonic). Needs the permission to trace them (ptrace(2)).
    """
    found: Dict[int, List[parse_dumps.Thread]] = {}
    failed: Dict[int, str] = {}
    for first in range(0, len(pids), _MAX_AT_ONCE):
        running = [(pid, _start(spy, pid)) for pid in pids[first : first + _MAX_AT_ONCE]]
        by = min(until, time.monotonic() + _PROCESS_TIMEOUT)
        for pid, process in running:
            try:
                out, error = process.communicate(timeout=max(0.01, by - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                failed[pid] = "py-spy took too long"
                continue
            threads = parse_dumps.read_spy(out.decode("utf-8", "replace"), pid)
            if process.returncode == 0 and threads is not None:
                found[pid] = threads
            else:
                lines = error.decode("utf-8", "replace").split("\n")
                failed[pid] = "py-spy: {:.200}".format(lines[0] or "it failed")
    return found, failed


def _start(spy: str, pid: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [spy, "dump", "--json", "--pid", str(pid)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
