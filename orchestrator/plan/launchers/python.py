"""Launch one plain `python script.py` (or program) a node, for scripts that start their own ranks.

Lightning's `fabric.launch()` (and Trainer) do: they read the node's place from NODE_RANK and the
meeting point from MASTER_ADDR and MASTER_PORT, and start the other local ranks themselves.
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
        return (
            Process(
                name=f"rank-{share.first_rank}",
                argv=job.started_with(share.python),
                environment=environment,
                rank=share.first_rank,
                local_rank=0,
            ),
        )


LAUNCHER = Python()
