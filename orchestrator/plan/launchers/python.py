"""Launch one `python script.py`, or program, on each node, for scripts that start their own ranks.

Lightning's `fabric.launch()` and Trainer do: they read NODE_RANK, MASTER_ADDR and MASTER_PORT, and start
the other local ranks themselves.
"""

from __future__ import annotations

from orchestrator.plan.job import Job
from orchestrator.plan.launchers.base import Launcher, Process, Share


class Python(Launcher):
    name = "python"
    help = "one process a node, for scripts that launch themselves"
    once_per_node = True

    def processes(self, share: Share, job: Job) -> tuple[Process, ...]:
        environment = {
            "MASTER_ADDR": share.main_address,
            "MASTER_PORT": str(share.main_port),
            "NODE_RANK": str(share.node_rank),
        }
        argv = job.rank_command(share.python)
        rank = share.first_rank
        return (Process(f"rank-{rank}", argv, environment, rank=rank, local_rank=0),)


LAUNCHER = Python()
