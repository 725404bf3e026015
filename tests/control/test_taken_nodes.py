"""The end of the nodes' job is the verdict, unless a rank failed by itself before."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from orchestrator import events
from orchestrator.control.first_failure import FirstFailure
from orchestrator.control.taken_nodes import give_back_nodes, verdict_on_taken_nodes
from orchestrator.control.verdict import Verdict
from orchestrator.errors import LaunchError, Unreachable
from orchestrator.inventory import Host
from orchestrator.remote.base import Node, NodesTaken, OnResult, Transport
from orchestrator.remote.reports import ProcessEnd

TAKEN = NodesTaken("time-limit", "Slurm job 5 reached its time limit, 01:00:00")


def verdict(failure: FirstFailure | None) -> Verdict:
    return Verdict(3, "what was seen", failure, {}, (), detail=" on the nodes")


@pytest.mark.parametrize(
    "failure",
    [
        None,
        FirstFailure("n0", None, None, "vanished"),
        FirstFailure("n0", 1, ProcessEnd(None, 15)),
        FirstFailure("n0", 1, ProcessEnd(None, 9)),
        FirstFailure("n0", None, ProcessEnd(1, None)),
    ],
)
def test_end_of_the_job_replaces_what_it_caused(failure: FirstFailure | None) -> None:
    found = verdict_on_taken_nodes(verdict(failure), TAKEN)
    assert (found.exit_code, found.summary, found.outcome) == (124, TAKEN.text, "stopped")
    assert found.first_failure is None


def test_rank_that_failed_by_itself_stays_the_first_failure() -> None:
    failure = FirstFailure("n0", 1, ProcessEnd(3, None))
    found = verdict_on_taken_nodes(verdict(failure), TAKEN)
    assert (found.exit_code, found.first_failure) == (3, failure)
    assert found.summary == f"what was seen on the nodes; {TAKEN.text}"


@pytest.mark.parametrize(
    ("kind", "code", "outcome"),
    [
        ("cancelled", 143, "stopped"),
        ("preempted", 143, "stopped"),
        ("node-failed", 1, "lost"),
        ("ended", 143, "stopped"),
    ],
)
def test_exit_code_and_outcome_are_those_of_the_kind(kind: str, code: int, outcome: str) -> None:
    found = verdict_on_taken_nodes(verdict(None), NodesTaken(kind, "text"))  # type: ignore[arg-type]
    assert (found.exit_code, found.outcome) == (code, outcome)


class Lender(Transport):
    """A transport that cannot give back its nodes."""

    name = "lender"

    async def connect_all(
        self, hosts: Sequence[Host], *, on_result: OnResult | None = None
    ) -> list[Node | Unreachable]:
        raise NotImplementedError

    async def release(self) -> None:
        raise LaunchError("job 5 was not cancelled", remedy="scancel 5")


async def test_nodes_that_cannot_be_given_back_are_a_warning() -> None:
    heard: list[events.Event] = []
    await give_back_nodes(Lender(), heard.append)
    assert heard == [events.Warned("job 5 was not cancelled\n  → scancel 5")]
