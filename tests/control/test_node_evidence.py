"""The evidence that a node has about the end of a rank."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.control.node_evidence import NodeEvidence, fetch_evidence
from orchestrator.remote.reports import ProcessEnd
from orchestrator.runs.record import Record
from tests.control.followed import Followed, followed_by
from tests.runs.fakes import FakeAgent, FakeConnection, lost
from tests.runs.helpers import KILL, rank, record_in


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    record = record_in(tmp_path)
    yield record
    record.close()


async def test_evidence_includes_the_kernel_log_only_for_killed_ranks(
    record: Record,
) -> None:
    answer = {
        "error_file": None, "oom_kills": 1, "kernel": ["a line"], "why": None, "full": ["/job"],
        "file_limit": 4096,
    }  # fmt: skip
    for end, killed in ((KILL, True), (ProcessEnd(1, None), False)):
        agent = FakeAgent(answers={"evidence": answer})
        node = Followed(record, FakeConnection(agent)).follower
        known = await fetch_evidence(node, rank(0, end), 5.0)
        assert known == NodeEvidence(
            oom_kills=1, kernel=("a line",), full=("/job",), file_limit=4096
        )
        ((verb, asked),) = agent.asked
        assert (verb, asked["rank"], asked["attempt"], asked["killed"]) == (
            "evidence",
            0,
            0,
            killed,
        )


@pytest.mark.parametrize("answer", [lost(), None, {"kernel": 3}, {"kernel": None}])
async def test_node_without_valid_answer_has_no_evidence(record: Record, answer: Any) -> None:
    followed = followed_by(record, evidence=answer)
    assert await fetch_evidence(followed.follower, rank(0, KILL), 5.0) is None
