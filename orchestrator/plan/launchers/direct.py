"""Launch the ranks directly: the supervisor starts one process a device, with the env:// variables.

Without a launcher process torch is imported once less, so the first step comes sooner. The variables are
those that torchrun's agent sets (torch/distributed/elastic/agent/server/local_elastic_agent.py), so
torch.distributed and Lightning see a torchrun job; rank 0 hosts the store itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.plan.job import Job
from orchestrator.plan.launchers.base import Launcher, Process, Share


class Direct(Launcher):
    name = "direct"
    help = "orch starts every rank"

    def processes(self, share: Share, job: Job) -> tuple[Process, ...]:
        argv = job.rank_command(share.python)
        return tuple(
            rank_process(share, local_rank, argv, environment_of(share, local_rank))
            for local_rank in range(share.devices)
        )


def rank_process(
    share: Share, local_rank: int, argv: tuple[str, ...], environment: Mapping[str, str]
) -> Process:
    """Return the process of one rank of the share."""
    rank = share.first_rank + local_rank
    return Process(f"rank-{rank}", argv, environment, rank=rank, local_rank=local_rank)


def environment_of(share: Share, local_rank: int) -> dict[str, str]:
    """Return the variables of one rank of the share."""
    rank = share.first_rank + local_rank
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(local_rank),
        "WORLD_SIZE": str(share.world_size),
        "LOCAL_WORLD_SIZE": str(share.devices),
        "GROUP_RANK": str(share.node_rank),
        "GROUP_WORLD_SIZE": str(share.nodes),
        "NODE_RANK": str(share.node_rank),
        "ROLE_NAME": "default",
        "ROLE_RANK": str(rank),
        "ROLE_WORLD_SIZE": str(share.world_size),
        "MASTER_ADDR": share.main_address,
        "MASTER_PORT": str(share.main_port),
        "TORCHELASTIC_RUN_ID": share.run,
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_MAX_RESTARTS": "0",
        "TORCHELASTIC_USE_AGENT_STORE": "False",
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
    }


LAUNCHER = Direct()
