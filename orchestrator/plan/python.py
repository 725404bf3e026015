"""Launch one plain `python script.py` a node, for scripts that start their own ranks.

Lightning's `fabric.launch()` (and Trainer) do: they read the node's place from NODE_RANK and the
meeting point from MASTER_ADDR and MASTER_PORT, and start the other local ranks themselves.
"""

from __future__ import annotations

from orchestrator.plan.job import Job
from orchestrator.plan.launchers import Process, Share


def processes(share: Share, job: Job) -> tuple[Process, ...]:
    """Return the one process of this node, named by its first global rank."""
    environment = {
        "MASTER_ADDR": share.main_address,
        "MASTER_PORT": str(share.main_port),
        "NODE_RANK": str(share.node_rank),
    }
    return (
        Process(
            name=f"rank-{share.first_rank}",
            argv=(share.python, "-u", *job.command),
            environment=environment,
            rank=share.first_rank,
            local_rank=0,
        ),
    )
