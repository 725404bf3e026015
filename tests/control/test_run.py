"""What a new controller of a run knows from the record."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from orchestrator import events
from orchestrator.control.interrupts import Interrupts
from orchestrator.control.run import Run
from tests.runs.fakes import FakeAgent, FakeConnection
from tests.runs.helpers import record_in


def test_node_that_an_earlier_controller_gave_up_is_gone(tmp_path: Path) -> None:
    record = record_in(tmp_path)
    record.note(events.NodeGone("n1", "could not be reached for 60 s"))
    connections = cast(Any, [FakeConnection(FakeAgent()), FakeConnection(FakeAgent())])
    run = Run(record, connections, lambda event: None, Interrupts())
    assert [node.gone for node in run.followers] == [None, "could not be reached for 60 s"]
