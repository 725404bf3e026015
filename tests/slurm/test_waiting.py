"""What Slurm's reasons mean: its own list, as strings in its library and in squeue(1), is the source."""

from __future__ import annotations

import pytest

from orchestrator.slurm.waiting import meaning_of, why_never

FOREVER = [
    "AccountNotAllowed",
    "AssocMaxBBPerJob",
    "AssocMaxCpuMinutesPerJobLimit",
    "AssocMaxCpuPerJobLimit",
    "AssocMaxCpuPerNode",
    "AssocMaxGRESPerJob",
    "AssocMaxMemPerNode",
    "AssocMaxNodePerJobLimit",
    "AssocMaxWallDurationPerJobLimit",
    "BadConstraints",
    "DependencyNeverSatisfied",
    "InvalidAccount",
    "InvalidQOS",
    "MaxMemPerLimit",
    "PartitionTimeLimit",
    "QOSMaxCpuPerJobLimit",
    "QOSMaxGRESPerJob",
    "QOSMaxGRESPerNode",
    "QOSMaxMemoryPerJob",
    "QOSMaxNodePerJobLimit",
    "QOSMaxWallDurationPerJobLimit",
    "QOSMinCpuNotSatisfied",
    "QOSMinGRES",
    "QOSMinNode",
    "QOSNotAllowed",
    "ReservationDeleted",
]
PASSING = [
    "AssocGrpCPUMinutesLimit",
    "AssocGrpCpuLimit",
    "AssocGrpGRES",
    "AssocMaxJobsLimit",
    "BeginTime",
    "Cleaning",
    "Dependency",
    "JobHeldAdmin",
    "JobHeldUser",
    "Licenses",
    "MaxGRESPerAccount",
    "MaxMemoryPerAccount",
    "NodeDown",
    "PartitionConfig",
    "PartitionDown",
    "PartitionInactive",
    "PartitionNodeLimit",
    "Priority",
    "QOSGrpGRES",
    "QOSGrpNodeLimit",
    "QOSMaxCpuPerUserLimit",
    "QOSMaxGRESPerUser",
    "QOSMaxJobsPerUserLimit",
    "QOSMaxMemoryPerUser",
    "QOSMaxNodePerUserLimit",
    "ReqNodeNotAvail",
    "Reservation",
    "Resources",
]


@pytest.mark.parametrize("reason", FOREVER)
def test_reason_that_contradicts_the_request_never_passes(reason: str) -> None:
    found = why_never(reason, "7", "gpu")
    assert found is not None
    assert all(text and "{" not in text for text in found)
    assert meaning_of(reason, "7", "gpu") == found[0]


@pytest.mark.parametrize(
    "reason",
    [
        "Job's account not known, so it can't use this partition (main allows foo)",
        "Job's account bar not permitted to use this partition (main allows foo)",
        "Job's QOS not permitted to use this partition (main allows high not normal)",
    ],
)
def test_sentence_about_a_partition_that_is_not_allowed_never_passes(reason: str) -> None:
    found = why_never(reason, "7", "main")
    assert found == ("it may not use the partition", "scontrol show partition main")


@pytest.mark.parametrize("reason", PASSING)
def test_reason_that_may_pass_has_a_meaning(reason: str) -> None:
    assert why_never(reason, "7", "gpu") is None
    meaning = meaning_of(reason, "7", "gpu")
    assert meaning
    assert "{" not in meaning


@pytest.mark.parametrize("reason", ["", "None", "SomethingNew", "FrontEndDown", "badconstraints"])
def test_unknown_reason_is_waited_for_without_a_meaning(reason: str) -> None:
    assert (meaning_of(reason, "7", "gpu"), why_never(reason, "7", "gpu")) == ("", None)


def test_details_after_the_name_do_not_hide_it() -> None:
    reason = "ReqNodeNotAvail, UnavailableNodes:node[0-1]"
    assert (
        meaning_of(reason, "7", "gpu")
        == "nodes that it names are down, drained, reserved or in use"
    )


def test_remedy_with_a_hostile_partition_is_safe_to_paste() -> None:
    found = why_never("PartitionTimeLimit", "7", "gpu; rm -r ~")
    assert found is not None
    assert "scontrol show partition 'gpu; rm -r ~'" in found[1]
