"""The nodes of the job of PBS, LSF or SGE that orch runs in, as its files and variables have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import InventoryError
from orchestrator.inventory import load
from orchestrator.inventory.readers.registry import job_here

from .test_hostfile import shown

VARIABLES = (
    "SLURM_JOB_ID", "PBS_JOBID", "PBS_NODEFILE", "LSB_JOBID", "LSB_DJOB_RANKFILE", "LSB_MCPU_HOSTS",
    "LSB_HOSTS", "JOB_ID", "PE_HOSTFILE",
)  # fmt: skip


class Job:
    """The environment of a job; `write` returns the name of a file with these lines."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._folder, self._patch = folder, patch
        for name in VARIABLES:
            patch.delenv(name, raising=False)

    def set(self, **variables: str) -> None:
        for name, value in variables.items():
            self._patch.setenv(name, value)

    def write(self, *lines: str) -> str:
        file = self._folder / "nodes"
        file.write_text("".join(f"{line}\n" for line in lines))
        return str(file)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    return Job(tmp_path, monkeypatch)


def test_no_job_is_found_outside_of_one(job: Job) -> None:
    assert job_here() is None
    job.set(JOB_ID="7", PBS_JOBID="12", LSB_JOBID="9")  # without a list of hosts
    assert job_here() is None


def test_job_of_pbs_has_a_rank_for_each_line(job: Job) -> None:
    nodes = job.write("n7.lan", "n7.lan", "n2.lan", "n7.lan", "n2.lan")
    job.set(PBS_JOBID="12.server", PBS_NODEFILE=nodes)
    assert job_here() == ("pbs", "PBS job 12.server")
    inventory = load("pbs:")
    assert (shown(inventory), inventory.source) == ("n7.lan=3 n2.lan=2", "pbs:")
    assert shown(load(f"pbs:{nodes}")) == "n7.lan=3 n2.lan=2"


def test_job_with_one_slot_a_node_leaves_the_ranks_to_the_node(job: Job) -> None:
    job.set(PBS_JOBID="12", PBS_NODEFILE=job.write("n1", "n2"))
    assert shown(load("pbs:")) == "n1 n2"


def test_job_whose_file_is_on_another_node_is_refused(job: Job) -> None:
    job.set(PBS_JOBID="12", PBS_NODEFILE="/var/spool/pbs/aux/12.server")
    with pytest.raises(InventoryError) as caught:
        load("pbs:")
    assert str(caught.value) == (
        "PBS_NODEFILE is /var/spool/pbs/aux/12.server: there is no such file on this machine\n"
        "  → run orch on the first node of the job, or name the hosts with -i or -H"
    )


def test_job_that_orch_does_not_run_in_is_refused(job: Job) -> None:
    with pytest.raises(InventoryError) as caught:
        load("sge:")
    assert str(caught.value) == (
        "sge:: orch does not run in a job of SGE: PE_HOSTFILE is not set\n"
        "  → run it there, or name a file: -i sge:FILE"
    )


def test_job_of_sge_has_the_slots_of_all_its_queues(job: Job) -> None:
    lines = (
        "c1.lan 4 all.q@c1.lan UNDEFINED",
        "c2 2 all.q@c2 0,1:0,2",
        "c1.lan 1 b.q@c1.lan <NULL>",
    )
    job.set(JOB_ID="7", PE_HOSTFILE=job.write(*lines))
    assert job_here() == ("sge", "SGE job 7")
    assert shown(load("sge:")) == "c1.lan=5 c2=2"


def test_fault_in_the_file_of_a_job_has_its_place(job: Job) -> None:
    nodes = job.write("n1", "n2;id", "n3 4")
    job.set(PBS_JOBID="12", PBS_NODEFILE=nodes)
    with pytest.raises(InventoryError) as caught:
        load("pbs:")
    places = [(problem.file, problem.line) for problem in caught.value.problems]
    assert places == [(nodes, 2), (nodes, 3)]


@pytest.mark.parametrize(
    ("lines", "counts", "hosts"),
    [
        # The Job Step Manager: the first line is where the batch script runs.
        (["batch5", *["c1"] * 42, *["c2"] * 42], "batch5 1 c1 42 c2 42", "c1=42 c2=42"),
        (["batch", "c1", "c2"], "", "c1 c2"),
        # Without it, the first line is a slot like the others.
        (["c1", "c1", "c2", "c2"], "c1 2 c2 2", "c1=2 c2=2"),
        (["c1", "c2"], "c1 1 c2 1", "c1 c2"),
        (["c1"], "c1 1", "c1"),
    ],
)
def test_rank_file_of_lsf_begins_with_the_launch_node(
    job: Job, lines: list[str], counts: str, hosts: str
) -> None:
    job.set(LSB_JOBID="9", LSB_DJOB_RANKFILE=job.write(*lines), LSB_MCPU_HOSTS=counts)
    assert job_here() == ("lsf", "LSF job 9")
    assert shown(load("lsf:")) == hosts


def test_job_of_lsf_without_a_file_is_that_of_its_variables(job: Job) -> None:
    job.set(LSB_JOBID="9", LSB_HOSTS="h2 h2 h1")
    assert shown(load("lsf:")) == "h2=2 h1=1"
    job.set(LSB_MCPU_HOSTS="h1 4 h2 8 ")
    assert shown(load("lsf:")) == "h1=4 h2=8"
    job.set(LSB_MCPU_HOSTS="h1 4 h2 x")
    with pytest.raises(InventoryError, match=r"^\$LSB_MCPU_HOSTS:2:4: expected a number of slots"):
        load("lsf:")
