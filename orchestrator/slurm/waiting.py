"""Why a job waits, in words, and whether waiting helps.

Slurm names one reason at a time (JOB REASON CODES of squeue(1), job_reason_codes in its documentation).
Most pass by themselves. Some contradict what the job asks for: it stays in the queue until it, or the
configuration of the cluster, is changed. Others need a person, who may be about to act.
"""

from __future__ import annotations

import re
import shlex

_GROUP = re.compile(r"(Assoc|QOS)Grp\w+")
_PER_USER = re.compile(r"QOSMax\w+PerUser(Limit)?")
_PER_ACCOUNT = re.compile(r"(QOS)?Max\w+PerAccount")
_PER_JOB = re.compile(r"(Assoc|QOS)Max\w+Per(Job|Node)(Limit)?|MaxMemPerLimit")
_TOO_LITTLE = re.compile(r"QOSMin\w+")
# Slurm has no name for these two: slurmctld writes a sentence (part_policy_valid_acct in its source).
_NOT_ALLOWED = re.compile(r"Job's (account|QOS) [^(]{1,300}this partition .{0,300}")

_LIMITS = "sacctmgr show associations user=$USER; sacctmgr show qos"
_PARTITION = "scontrol show partition {partition}"
_JOB = "scontrol show job {job}"

_PASSING = {
    "AssocMaxJobsLimit": "your jobs that run are as many as your account allows",
    "BeginTime": "its begin time has not come",
    "Cleaning": "its last run is still being cleaned up",
    "Dependency": "it depends on another job",
    "Licenses": "waiting for licenses",
    "Priority": "jobs of higher priority are before it",
    "QOSMaxJobsPerUserLimit": "your jobs that run are as many as the QOS allows",
    "Reservation": "its reservation has not begun",
    "Resources": "waiting for nodes to become free",
}
_PASSING_BY_PATTERN = (
    (_GROUP, "your group uses all that it may use at a time"),
    (_PER_USER, "with your other jobs it is more than the QOS allows at a time"),
    (
        _PER_ACCOUNT,
        "with the other jobs of the account it is more than the QOS allows at a time",
    ),
)
_NEEDS_A_PERSON = {
    "JobHeldAdmin": "held: only an administrator can release it",
    "JobHeldUser": "held: scontrol release {job} lets it start",
    "NodeDown": "a node that it needs is down",
    "PartitionConfig": "the partition does not allow what it asks for, or has too few nodes in service",
    "PartitionDown": "the partition starts no jobs until an administrator sets it to UP",
    "PartitionInactive": "the partition starts no jobs until an administrator sets it to UP",
    "PartitionNodeLimit": "the partition does not allow that many nodes, or nodes that it needs are down",
    "ReqNodeNotAvail": "nodes that it names are down, drained, reserved or in use",
}
_FOREVER = {
    "AccountNotAllowed": ("the partition does not allow the account", _PARTITION),
    "BadConstraints": (
        "no nodes of the partition have what it asks for",
        "ask for less; sinfo --Node --long --partition={partition} shows what the nodes have",
    ),
    "DependencyNeverSatisfied": ("the job that it depends on has ended in another way", _JOB),
    "InvalidAccount": ("there is no such account", _LIMITS),
    "InvalidQOS": ("there is no such QOS, or not for you", _LIMITS),
    "PartitionTimeLimit": (
        "the partition does not allow that long",
        f"ask for less with --time; {_PARTITION} shows its MaxTime",
    ),
    "QOSNotAllowed": ("the account or the partition does not allow the QOS", _PARTITION),
    "ReservationDeleted": ("its reservation was deleted", "scontrol show reservations"),
}
_FOREVER_BY_PATTERN = (
    (_NOT_ALLOWED, "it may not use the partition", _PARTITION),
    (
        _PER_JOB,
        "one job may not ask for that much",
        f"ask for less; the limits: {_LIMITS}",
    ),
    (_TOO_LITTLE, "the QOS does not allow to ask for that little", f"the limits: {_LIMITS}"),
)


def meaning_of(code: str, job: str, partition: str) -> str:
    """Return what a reason means; empty if that is unknown. Commands in it name `job` and `partition`."""
    name = _name(code)
    forever = _forever(code)
    text = forever[0] if forever else _PASSING.get(name) or _NEEDS_A_PERSON.get(name) or ""
    if not text:
        text = next((text for each, text in _PASSING_BY_PATTERN if each.fullmatch(name)), "")
    return _filled(text, job, partition)


def why_never(code: str, job: str, partition: str) -> tuple[str, str] | None:
    """Return what a reason means, and what to do, if the job stays in the queue forever; None if not."""
    found = _forever(code)
    if found is None:
        return None
    meaning, remedy = found
    return meaning, _filled(remedy, job, partition)


def _forever(code: str) -> tuple[str, str] | None:
    by_pattern = (
        (text, remedy) for each, text, remedy in _FOREVER_BY_PATTERN if each.fullmatch(code)
    )
    return _FOREVER.get(_name(code)) or next(by_pattern, None)


def _filled(text: str, job: str, partition: str) -> str:
    return text.format(job=shlex.quote(job), partition=shlex.quote(partition))


def _name(code: str) -> str:
    """Return the name: Slurm may add details after a comma."""
    return code.partition(",")[0]
