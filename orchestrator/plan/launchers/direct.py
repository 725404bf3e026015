"""Launch the ranks directly: the supervisor starts one process a device, with the env:// variables.

Without a launcher process torch is imported once less, so the first step comes sooner. The variables are
those that torchrun's agent sets (torch/distributed/elastic/agent/server/local_elastic_agent.py), so
torch.distributed and Lightning see a torchrun job; rank 0 hosts the store itself.

`--numa-binding` binds each rank to CPUs near its GPU, as torchrun does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.errors import PlanError, UsageError
from orchestrator.node.numa import MODES
from orchestrator.plan.job import Job
from orchestrator.plan.launchers.base import Launcher, Process, Share
from orchestrator.util.text import counted, escaped, quoted

_NUMA = "--numa-binding"


class Direct(Launcher):
    name = "direct"
    help = "orch starts every rank"

    def check_job(self, job: Job) -> None:
        _numa_binding(job.launcher_arguments)

    def processes(self, share: Share, job: Job) -> tuple[Process, ...]:
        binding = _numa_binding(job.launcher_arguments)
        if binding is not None and share.gpus < share.devices:
            raise PlanError(
                f"{_NUMA}={binding}: node rank {share.node_rank} has {counted(share.devices, 'rank')}, and "
                f"{counted(share.gpus, 'GPU')} for them to be bound near",
                remedy="leave it out, or start one rank for each GPU: --nproc gpu",
            )
        argv = job.rank_command(share.python)
        return tuple(
            rank_process(share, local_rank, argv, environment_of(share, local_rank), binding)
            for local_rank in range(share.devices)
        )


def rank_process(
    share: Share,
    local_rank: int,
    argv: tuple[str, ...],
    environment: Mapping[str, str],
    numa_binding: str | None = None,
) -> Process:
    """Return the process of one rank of the share."""
    rank = share.first_rank + local_rank
    return Process(
        f"rank-{rank}",
        argv,
        environment,
        rank=rank,
        local_rank=local_rank,
        numa_binding=numa_binding,
    )


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


def _numa_binding(arguments: Sequence[str]) -> str | None:
    """Return the value of --numa-binding among the job's arguments for the launcher; None without it.

    Raises UsageError for anything else, or a value that torchrun does not have either.
    """
    binding, words = None, list(arguments)
    while words:
        option, equals, value = words.pop(0).partition("=")
        if option.replace("_", "-") != _NUMA:
            raise UsageError(
                f"--launcher-arg {escaped(option)}: with --launcher direct there is no launcher to take it",
                remedy=f"leave it out; direct has {_NUMA} alone",
            )
        binding = value if equals else words.pop(0) if words else ""
        if binding not in MODES:
            raise UsageError(
                f"--launcher-arg {_NUMA}: expected one of {', '.join(MODES)}; found {quoted(binding)}"
            )
    return binding


LAUNCHER = Direct()
