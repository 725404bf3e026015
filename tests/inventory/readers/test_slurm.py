"""Inventories from a job of Slurm."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import InventoryError, LaunchError
from orchestrator.inventory import TransportChoice, load
from orchestrator.inventory.readers import slurm
from orchestrator.inventory.readers.slurm import parse_tasks
from orchestrator.slurm.job import SlurmJob, parse_job

RECORDED = Path(__file__).parents[2] / "recorded" / "slurm"


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment outside of Slurm's jobs."""
    for name in ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_TASKS_PER_NODE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> SlurmJob:
    """A running job that the reader finds; its nodes are in an order of their own."""
    return use(monkeypatch, parse_job("5", (RECORDED / "running.txt").read_text()))


def use(monkeypatch: pytest.MonkeyPatch, job: SlurmJob, names: str = "node1\nnode0\n") -> SlurmJob:
    monkeypatch.setattr(slurm, "ask", lambda *argv: names)
    monkeypatch.setattr(slurm, "parse_job", lambda name, text: job)
    return job


def test_read_of_a_job_has_its_hosts_in_order_with_their_gpus(job: SlurmJob) -> None:
    inventory = load("slurm:5")
    assert [(host.name, host.address, host.devices) for host in inventory.hosts] == [
        ("node1", "node1", 2),
        ("node0", "node0", 2),
    ]
    assert inventory.transport == TransportChoice(name="srun", options={"job": "5"})
    assert inventory.source == "slurm:5"


def test_read_without_an_id_takes_the_job_of_the_environment(
    job: SlurmJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    assert load("slurm:").source == "slurm:5"


def test_read_without_gpus_has_a_rank_for_each_task(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, SlurmJob("5", "RUNNING", "", "node[0-1]", tasks_per_node=3))
    assert [host.devices for host in load("slurm:5").hosts] == [3, 3]
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.setenv("SLURM_TASKS_PER_NODE", "4,2")
    assert [host.devices for host in load("slurm:5").hosts] == [4, 2]
    monkeypatch.setenv("SLURM_STEP_ID", "0")  # then the variable is about the step
    assert [host.devices for host in load("slurm:5").hosts] == [3, 3]


def test_read_with_one_task_a_node_leaves_the_ranks_to_the_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, SlurmJob("5", "RUNNING", "", "node[0-1]"))
    assert [host.devices for host in load("slurm:5").hosts] == ["auto", "auto"]


def test_read_of_waiting_job_says_why_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, SlurmJob("6", "PENDING", "Resources", ""))
    with pytest.raises(InventoryError, match=r"job 6 has no nodes: it is PENDING \(Resources\)"):
        load("slurm:6")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("slurm:", "orch does not run in a Slurm job"),
        ("slurm:--help", "expected the id of a Slurm job"),
    ],
)
def test_read_without_a_job_raises(source: str, message: str) -> None:
    with pytest.raises(InventoryError, match=message):
        load(source)


def test_read_of_unknown_job_has_the_words_of_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*argv: str) -> str:
        raise LaunchError("scontrol: Invalid job id specified", remedy="squeue")

    monkeypatch.setattr(slurm, "ask", refuse)
    with pytest.raises(InventoryError) as caught:
        load("slurm:9")
    assert str(caught.value) == "slurm:9: scontrol: Invalid job id specified\n  → squeue"


def test_read_of_heterogeneous_job_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, SlurmJob("5", "RUNNING", "", "node[0-1]", is_heterogeneous=True))
    with pytest.raises(InventoryError, match="slurm:5: Slurm job 5 is heterogeneous"):
        load("slurm:5")


@pytest.mark.parametrize("names", ["", "node0\nnode0\n", "node0\n\x1b[2J\n", "node0\n-oProxy\n"])
def test_read_refuses_what_are_no_names_of_nodes(
    monkeypatch: pytest.MonkeyPatch, names: str
) -> None:
    use(monkeypatch, SlurmJob("5", "RUNNING", "", "node[0-1]"), names)
    with pytest.raises(InventoryError, match="slurm:5: ") as caught:
        load("slurm:5")
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("text", "nodes", "tasks"),
    [
        ("2(x3),1", 4, [2, 2, 2, 1]),
        ("1", 1, [1]),
        ("2(x3)", 4, None),
        ("2(x99999999)", 2, None),
        ("", 1, None),
        ("two", 1, None),
    ],
)
def test_parse_tasks(text: str, nodes: int, tasks: list[int] | None) -> None:
    assert parse_tasks(text, nodes) == tasks
