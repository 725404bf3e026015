"""Launch with torchrun: `python -m torch.distributed.run`, static rendezvous.

Static needs nothing but the main address and one port; the c10d rendezvous opens a second store on a
random port of main's own host name, which firewalls and /etc/hosts break.
"""

from __future__ import annotations

from orchestrator.plan.job import Job
from orchestrator.plan.launchers import Process, Share


def processes(share: Share, job: Job) -> tuple[Process, ...]:
    """Return the one agent that starts this node's ranks."""
    argv = (
        share.python,
        *("-m", "torch.distributed.run"),
        f"--nnodes={share.nodes}",
        f"--node-rank={share.node_rank}",
        f"--nproc-per-node={share.devices}",
        f"--master-addr={share.main_address}",
        f"--master-port={share.main_port}",
        f"--rdzv-id={share.run}",
        *job.launcher_arguments,
        *job.command,
    )
    return (Process("launcher", argv),)
