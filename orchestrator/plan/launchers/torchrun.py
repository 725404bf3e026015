"""Launch with torchrun, `python -m torch.distributed.run`: static rendezvous, c10d if the job is elastic.

Static rendezvous needs only the main address and one port. c10d would guess from host names, which
/etc/hosts often maps to loopback, so orch sets what it guesses: that the main node hosts the store
(is_host), and the address of each node (--local-addr), which is used if the node gets the first ranks.
"""

from __future__ import annotations

from orchestrator.errors import PlanError, UsageError
from orchestrator.plan.job import Elastic, Job
from orchestrator.plan.launchers.base import Process, Share
from orchestrator.plan.launchers.torchrun_options import TorchrunOptions, sets_restarts

_LAST_CALL = 10
"""Seconds for which the remaining nodes wait for others before they continue without; torchrun's default
is 30."""

# Each round gets a store of its own, on a free port of the node with its first rank. The store of the round
# before, which torch 2.4 and later share by default, still has the addresses of lost ranks, and nodes of
# that round look for it where its first rank was (torch 2.13: `next_rendezvous`).
_OWN_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
# A node that vanishes during a rendezvous still joins it, for 15 s. The other agents then wait for its
# ranks, and fail after 60 s, unless all nodes have as many ranks (torch 2.6: `_assign_worker_ranks`). If
# they have, the ranks start, and only they wait for it, as for any node that is lost.
_IDENTICAL = {"TORCH_ELASTIC_WORKER_IDENTICAL": "1"}


class Torchrun(TorchrunOptions):
    name = "torchrun"
    help = "PyTorch's own"
    needs = ("torch",)
    module = "torch.distributed.run"
    can_be_elastic = True

    def check_job(self, job: Job) -> None:
        super().check_job(job)
        if job.elastic is not None and sets_restarts(job.launcher_arguments):
            message = f"{job.elastic}: orch sets --max-restarts itself then"
            raise UsageError(message, remedy="use --restarts")

    def processes(self, share: Share, job: Job) -> tuple[Process, ...]:
        rendezvous, environment = _static(share), {}
        if job.elastic is not None:
            rendezvous = _elastic(share, job.elastic)
            environment = {**_OWN_STORE, **(_IDENTICAL if share.is_uniform else {})}
        own = (
            share.python,
            *("-m", self.module),
            *rendezvous,
            f"--rdzv-id={share.run}",
            *job.launcher_arguments,
            *(("-m",) if job.module else ("--no-python",) if job.program else ()),
            "--",  # else argparse looks for its own options among those of the script
        )
        argv = (*own, job.script, *job.arguments)
        program_at = len(own) if job.program else None
        return (Process("launcher", argv, environment, program_at=program_at),)


def _static(share: Share) -> tuple[str, ...]:
    return (
        f"--nnodes={share.nodes}",
        f"--node-rank={share.node_rank}",
        f"--nproc-per-node={share.devices}",
        f"--master-addr={share.main_address}",
        f"--master-port={share.main_port}",
    )


def _elastic(share: Share, elastic: Elastic) -> tuple[str, ...]:
    if share.address is None:
        raise PlanError(
            "--elastic: the nodes' own addresses on the network of the ranks are not known",
            remedy="give main's address in a subnet that all nodes share with --main-address",
        )
    conf = f"is_host={int(share.node_rank == 0)},last_call_timeout={_LAST_CALL}"
    address = f"[{share.main_address}]" if ":" in share.main_address else share.main_address
    return (
        f"--nnodes={elastic.fewest}:{share.nodes}",
        f"--nproc-per-node={share.devices}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={address}:{share.main_port}",
        f"--rdzv-conf={conf}",
        f"--local-addr={share.address}",
        f"--max-restarts={elastic.restarts}",
    )


LAUNCHER = Torchrun()
