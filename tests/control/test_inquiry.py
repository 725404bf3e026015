"""What nodes are asked about ranks that failed, and when."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.control import explain
from orchestrator.control.first_failure import FirstFailure
from orchestrator.control.inquiry import Inquiry
from orchestrator.control.node_evidence import NodeEvidence
from orchestrator.preflight.model import NoAnswer
from orchestrator.remote.reports import ProcessEnd
from orchestrator.runs.record import Record
from tests.control.followed import Followed
from tests.control.looks.subjects import place
from tests.runs.fakes import FakeAgent, FakeConnection, lost
from tests.runs.helpers import KILL, rank, record_in

FAILED = ProcessEnd(1, None)
BASE: dict[str, Any] = {
    "error_file": None, "oom_kills": 0, "kernel": [], "why": None, "full": [], "file_limit": None,
}  # fmt: skip
ENOSPC = "OSError: [Errno 28] No space left on device: '/data/x'\n"


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    record = record_in(tmp_path)
    yield record
    record.close()


class Failed:
    """Rank 0 on n0, which printed `text` and ended so; its node gives these answers."""

    def __init__(self, record: Record, text: str, end: ProcessEnd = FAILED, **answers: Any) -> None:
        self.agent = FakeAgent(answers={"evidence": BASE, **answers})
        self.record = record
        follower = Followed(record, FakeConnection(self.agent)).follower
        follower._reports.ranks[0] = rank(0, end, 4.0)
        self.write("rank-0.err", text)
        self.inquiry = Inquiry(record.logs, [follower])
        self.failure = FirstFailure("n0", 0, end)

    def write(self, name: str, text: str) -> None:
        path = self.record.logs / "n0/attempt-0" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    async def ask(self) -> NodeEvidence:
        return await self.inquiry.evidence(self.record.plan, self.failure)

    @property
    def asked(self) -> list[str]:
        return [verb for verb, _ in self.agent.asked]


async def test_clean_failure_looks_at_nothing(record: Record) -> None:
    failed = Failed(record, "ValueError: no such batch\n")
    assert (await failed.ask()).answers == {}
    await failed.ask()
    assert failed.asked == ["evidence"]


async def test_failure_that_asks_is_looked_at_once(record: Record) -> None:
    answer = {"places": {"ok": [place("/data/x", free=0)]}}
    failed = Failed(record, ENOSPC, check=answer)
    known = await failed.ask()
    (found,) = known.answers["places"]
    assert found.is_full
    assert await failed.ask() == known
    assert sorted(failed.asked) == ["check", "evidence"]
    arguments = dict(failed.agent.asked)["check"]
    assert list(arguments["probes"]) == ["places"]
    assert arguments["limit"] < arguments["timeout"] <= 8.0


async def test_kill_asks_for_the_kernel_log(record: Record) -> None:
    failed = Failed(record, "", KILL)
    assert (await failed.ask()).kernel == ()
    assert dict(failed.agent.asked)["evidence"]["killed"] is True
    shell = Failed(record, "", ProcessEnd(137, None))
    await shell.ask()
    assert dict(shell.agent.asked)["evidence"]["killed"] is True


async def test_exception_that_torch_recorded_calls_for_its_own_looks(record: Record) -> None:
    recorded = {"message": {"message": ENOSPC.strip(), "extraInfo": {"timestamp": "1"}}}

    answer = {"places": {"ok": [place("/data/x", free=0)]}}
    failed = Failed(record, "", evidence={**BASE, "error_file": json.dumps(recorded)}, check=answer)
    known = await failed.ask()
    assert list(known.answers) == ["places"]
    assert failed.asked == ["evidence", "check"]


async def test_node_that_is_gone_is_asked_again_by_the_verdict(record: Record) -> None:
    failed = Failed(record, ENOSPC, evidence=lost(), check=lost())
    assert await failed.ask() == NodeEvidence()
    assert len(failed.asked) == 2
    await failed.ask()
    assert len(failed.asked) == 4


async def test_look_without_valid_answer_is_known_to_have_none(record: Record) -> None:
    failed = Failed(record, ENOSPC, check={"places": {"error": "no answer within 5 s"}})
    known = await failed.ask()
    assert known.answers == {"places": NoAnswer("no answer within 5 s")}


async def test_failure_of_a_launcher_or_a_node_asks_nothing(record: Record) -> None:
    failed = Failed(record, "")
    for failure in (FirstFailure("n0", None, FAILED), FirstFailure("n0", None, None, "vanished")):
        assert await failed.inquiry.evidence(record.plan, failure) == NodeEvidence()
    assert failed.asked == []


async def test_error_in_the_diagnosis_is_left_to_the_verdict(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: Any) -> None:
        raise RuntimeError("a bug")

    failed = Failed(record, ENOSPC)
    monkeypatch.setattr(explain, "subject_of", fails)
    await failed.inquiry.begin(record.plan, failed.failure)
    with pytest.raises(RuntimeError, match="a bug"):
        await failed.ask()
