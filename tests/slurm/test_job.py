"""Jobs are parsed from what Slurm 22.05 really printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import LaunchError
from orchestrator.slurm.commands import LocalCommands
from orchestrator.slurm.job import SlurmJob, checked_id, end_of, find_loss, parse_job

RECORDED = Path(__file__).parents[1] / "recorded" / "slurm"


def recorded(name: str) -> SlurmJob:
    text = (RECORDED / f"{name}.txt").read_text()
    return parse_job(text.split(" ")[0].removeprefix("JobId="), text)


def test_parse_job_of_running_job_has_nodes_gpus_and_tasks() -> None:
    assert recorded("running") == SlurmJob(
        id="5",
        state="RUNNING",
        reason="",
        nodes="node[0-1]",
        tasks_per_node=2,
        gpus=(("node[0-1]", 2),),
        time_limit="01:00:00",
        partition="main",
        starts="2026-11-30T22:49:29",
    )


@pytest.mark.parametrize("reason", ["Resources", "Priority", "Dependency"])
def test_parse_job_of_pending_job_has_the_reason_and_no_nodes(reason: str) -> None:
    job = recorded(f"pending-{reason.lower()}")
    assert (job.state, job.reason, job.nodes) == ("PENDING", reason, "")


def test_parse_job_of_ended_job_has_its_state() -> None:
    assert recorded("cancelled").state == "CANCELLED"
    assert (recorded("failed").state, recorded("failed").reason) == ("FAILED", "NonZeroExitCode")


def test_parse_job_keeps_a_reason_of_several_words() -> None:
    text = (RECORDED / "pending-resources.txt").read_text()
    text = text.replace("Reason=Resources", "Reason=ReqNodeNotAvail,_UnavailableNodes:node[0-1]")
    assert parse_job("6", text).reason == "ReqNodeNotAvail, UnavailableNodes:node[0-1]"


def test_parse_job_of_a_task_of_an_array_has_its_own_id() -> None:
    text = (RECORDED / "running.txt").read_text()
    text = text.replace("JobId=5 ", "JobId=24 ArrayJobId=23 ArrayTaskId=3 ")
    assert parse_job("23_3", text).id == "24"


def test_parse_job_knows_a_part_of_a_heterogeneous_job() -> None:
    text = (RECORDED / "running.txt").read_text()
    assert not parse_job("5", text).is_heterogeneous
    text = text.replace("JobId=5 ", "JobId=5 HetJobId=5 HetJobOffset=0 ")
    assert parse_job("5", text).is_heterogeneous


@pytest.mark.parametrize(
    ("written", "gpus"),
    [
        ("gpu:2(IDX:0-1)", 2),
        ("gpu:a100:4(IDX:0-3)", 4),
        ("gpu:a100:2(IDX:0,3),gpu:h100:1(IDX:4),shard:8(8/8)", 3),
        ("nic:1(IDX:0)", 0),
        ("", 0),
    ],
)
def test_parse_job_counts_gpus_of_every_type(written: str, gpus: int) -> None:
    text = (RECORDED / "running.txt").read_text().replace("gpu:2(IDX:0-1)", written)
    assert parse_job("5", text).gpus == (("node[0-1]", gpus),)


def test_parse_job_of_several_jobs_takes_the_one_with_the_id() -> None:
    text = (RECORDED / "running.txt").read_text()
    other = text.replace("JobId=5", "JobId=51").replace("node[0-1]", "other")
    assert parse_job("5", other + text).nodes == "node[0-1]"


@pytest.mark.parametrize("text", ["", "No jobs in the system\n", "\x1b[2Jnonsense"])
def test_parse_job_without_a_job_raises(text: str) -> None:
    with pytest.raises(LaunchError, match="says nothing about Slurm job 7") as caught:
        parse_job("7", text)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("job", ["", "--help", "7;id", "7 8", "7+1", "1" * 12, "\u0663"])
def test_checked_id_refuses_what_is_no_id(job: str) -> None:
    with pytest.raises(ValueError, match="id of a Slurm job"):
        checked_id(job)


def test_checked_id_accepts_a_task_of_an_array_only_if_asked_to() -> None:
    assert checked_id("4711") == "4711"
    assert checked_id("4711_3", may_be_task=True) == "4711_3"
    with pytest.raises(ValueError, match="id of a Slurm job"):
        checked_id("4711_3")


@pytest.mark.parametrize(
    ("state", "reason", "kind", "is_over"),
    [
        ("CANCELLED", "", "cancelled", True),
        ("TIMEOUT", "TimeLimit", "time-limit", True),
        ("COMPLETING", "TimeLimit", "time-limit", False),
        ("NODE_FAIL", "NodeDown", "node-failed", True),
        ("PREEMPTED", "", "preempted", True),
        ("COMPLETING", "", "ended", False),
        ("FAILED", "NonZeroExitCode", "ended", True),
        ("SOMETHING_NEW", "", "ended", True),
    ],
)
def test_end_of_job_has_its_kind(state: str, reason: str, kind: str, is_over: bool) -> None:
    end = end_of(SlurmJob("5", state, reason, "node[0-1]", time_limit="00:10:00"))
    assert end is not None
    assert (end.kind, end.is_over, "Slurm job 5" in end.text) == (kind, is_over, True)


class Answering(LocalCommands):
    """Programs that print this text, or fail."""

    def __init__(self, said: str | LaunchError) -> None:
        self.said = said

    async def ask(self, *argv: str) -> str:
        if isinstance(self.said, LaunchError):
            raise self.said
        return self.said


def text(name: str) -> str:
    return (RECORDED / f"{name}.txt").read_text()


async def test_find_loss_of_requeued_job_says_so() -> None:
    loss = await find_loss(Answering(text("pending-resources")), "6")
    assert loss is not None
    assert loss.text.startswith("Slurm job 6 was put back into the queue: ")
    assert await find_loss(Answering(text("running")), "5") is None


async def test_find_loss_of_forgotten_job_is_its_end() -> None:
    error = LaunchError("scontrol: slurm_load_jobs error: Invalid job id specified")
    loss = await find_loss(Answering(error), "6")
    assert loss is not None
    assert loss.text == "Slurm job 6 ended, and Slurm has forgotten it"


async def test_find_loss_without_an_answer_raises() -> None:
    error = LaunchError("scontrol: Unable to contact slurm controller (connect failure)")
    with pytest.raises(LaunchError) as caught:
        await find_loss(Answering(error), "6")
    assert caught.value is error


@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "CONFIGURING"])
def test_end_of_live_job_is_none(state: str) -> None:
    assert end_of(SlurmJob("5", state, "", "node[0-1]")) is None
