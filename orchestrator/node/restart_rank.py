"""End one rank, so that its launcher starts all ranks again.

When a node has left an elastic job, the ranks on the others may wait for it in a collective for as long as
that has patience; their launchers only look at whether they live.
"""

from __future__ import annotations

import os
import signal
from typing import Dict

from . import files, processes, records


def restart_rank(run: str, node: str, attempt: int, rank: int, pid: int) -> Dict[str, bool]:
    """Kill the rank, if it still is that process; return {"ended": whether it was}."""
    directory = files.run_directory(run, node)
    name = os.path.join(files.attempt_name(attempt), "rank-{:d}.json".format(rank))
    record = records.read_rank(os.path.join(directory, name))
    status = records.read_status(directory)
    if record is None or status is None or record["ended"] is not None or record["pid"] != pid:
        return {"ended": False}
    is_there = processes.is_of_run(pid, directory, status["pid"])
    if is_there:
        processes.send({pid}, signal.SIGKILL)
    return {"ended": is_there}
