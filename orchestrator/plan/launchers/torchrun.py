"""Launch with torchrun: `python -m torch.distributed.run`, static rendezvous unless it is to be elastic.

Static needs nothing but the main address and one port. The c10d rendezvous, which an elastic job needs, is
told what it would otherwise guess from names, which /etc/hosts often has as loopback: that main serves it
(is_host), and the address of each node (--local-addr), where the ranks meet should theirs be the first.
"""

from __future__ import annotations

from orchestrator.errors import PlanError, UsageError
from orchestrator.plan.job import Elastic, Job
from orchestrator.plan.launchers.base import Process, Share
from orchestrator.plan.launchers.torchrun_options import TorchrunOptions, sets_restarts

_LAST_CALL = 10
"""Seconds for which those that are left wait for others before they go on without; 30 by default."""

# Each round gets a store of its own, on a free port of whoever has its first rank. Shared with the round
# before (the default since torch 2.4), it still has the addresses of ranks that are gone, and those who
# were in that round look for it where its first rank was (torch 2.13: `next_rendezvous`).
_STORE_OF_ITS_OWN = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
# A node that vanishes as they meet is met all the same, for 15 s. The agents then wait for what it has to
# say of its ranks, and fail after 60 s; unless all are alike (torch 2.6: `_assign_worker_ranks`). Then
# their ranks begin, and only those wait for it, as for any node that has left.
_ALIKE = {"TORCH_ELASTIC_WORKER_IDENTICAL": "1"}


class Torchrun(TorchrunOptions):
    name = "torchrun"
    help = "PyTorch's own"
    needs = ("torch",)
    module = "torch.distributed.run"
    can_be_elastic = True

    def check_job(self, job: Job) -> None:
        super().check_job(job)
        if job.elastic is not None and sets_restarts(job.launcher_arguments):
            raise UsageError(
                f"{job.elastic}: orch sets --max-restarts itself then", remedy="use --restarts"
            )

    def processes(self, share: Share, job: Job) -> tuple[Process, ...]:
        meeting = _static(share) if job.elastic is None else _elastic(share, job.elastic)
        own = (
            share.python,
            *("-m", self.module),
            *meeting,
            f"--rdzv-id={share.run}",
            *job.launcher_arguments,
            *(("-m",) if job.module else ("--no-python",) if job.program else ()),
            "--",  # else argparse looks for its own options among those of the script
        )
        environment = {}
        if job.elastic is not None:
            environment = {**_STORE_OF_ITS_OWN, **(_ALIKE if share.is_uniform else {})}
        return (
            Process(
                name="launcher",
                argv=(*own, job.script, *job.arguments),
                environment=environment,
                program_at=len(own) if job.program else None,
            ),
        )


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
            "--elastic: the nodes' own addresses where the ranks meet are not known",
            remedy="give main's address in a subnet that all nodes share with --main-address",
        )
    conf = f"is_host={int(share.node_rank == 0)},last_call_timeout={_LAST_CALL}"
    return (
        f"--nnodes={elastic.fewest}:{share.nodes}",
        f"--nproc-per-node={share.devices}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={_endpoint(share)}",
        f"--rdzv-conf={conf}",
        f"--local-addr={share.address}",
        f"--max-restarts={elastic.restarts}",
    )


def _endpoint(share: Share) -> str:
    address = f"[{share.main_address}]" if ":" in share.main_address else share.main_address
    return f"{address}:{share.main_port}"


LAUNCHER = Torchrun()
