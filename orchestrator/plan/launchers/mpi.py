"""Launch the ranks directly, with the variables of mpirun beside those of torchrun.

For scripts that read rank and size from OMPI_COMM_WORLD_* (Open MPI), PMI_* and MPI_LOCALRANKID (MPICH,
Intel MPI) or MV2_COMM_WORLD_* (MVAPICH2). There is no MPI: MPI_Init of such a process makes a world of its
own. So they are not set by other launchers: libraries that find them may use MPI, as TensorRT-LLM does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.plan.job import Job
from orchestrator.plan.launchers.base import Process, Share
from orchestrator.plan.launchers.direct import Direct

# The rank of Open MPI's "node" is counted on the node as well, over all jobs there.
_NAMES = {
    "RANK": ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK"),
    "WORLD_SIZE": ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE"),
    "LOCAL_RANK": (
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_NODE_RANK",
        "MPI_LOCALRANKID",
        "MV2_COMM_WORLD_LOCAL_RANK",
    ),
    "LOCAL_WORLD_SIZE": (
        "OMPI_COMM_WORLD_LOCAL_SIZE",
        "MPI_LOCALNRANKS",
        "MV2_COMM_WORLD_LOCAL_SIZE",
    ),
}


class Mpi(Direct):
    name = "mpi"
    help = "as direct, with the variables of mpirun"

    def processes(self, share: Share, job: Job) -> tuple[Process, ...]:
        return tuple(
            replace(process, environment=_with_names_of_mpi(process.environment))
            for process in super().processes(share, job)
        )


def _with_names_of_mpi(environment: Mapping[str, str]) -> dict[str, str]:
    more = {name: environment[known] for known, names in _NAMES.items() for name in names}
    return {**environment, **more}


LAUNCHER = Mpi()
