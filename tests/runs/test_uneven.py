"""Ranks that lost each other because only some nodes had a file of an earlier run."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import events
from orchestrator.control.explain import NodeEvidence, explain
from orchestrator.control.first_failure import FirstFailure, NodeState
from orchestrator.remote.reports import ProcessEnd
from orchestrator.runs.event_log import EventLog
from orchestrator.runs.folder import EVENTS
from orchestrator.runs.state import state_of
from tests.runs.helpers import ENDED, OK, plan_of, rank

FAILED = ProcessEnd(1, None)
UNEVEN = events.Uneven("snapshot.pt", ("n0",), ("n1", "n2"))
LOST_A_PEER = (
    "RuntimeError: [gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.1]:5"
)
OWN_MISTAKE = "ValueError: bad sample 17"


def told(tmp_path: Path, said: str, *uneven: events.Uneven) -> tuple[str, str]:
    """Return cause and fix of rank 1, which failed with these words once rank 0 had ended."""
    logs = tmp_path / "n1/attempt-0"
    logs.mkdir(parents=True)
    traceback = f'Traceback (most recent call last):\n  File "t.py", line 1, in <module>\n{said}\n'
    (logs / "rank-1.err").write_text(traceback)
    nodes = {
        "n0": NodeState("n0", {0: rank(0, OK, 3.0)}, ENDED),
        "n1": NodeState("n1", {1: rank(1, FAILED, 4.0)}, ENDED),
    }
    found = explain(
        plan_of(1, 1), nodes, FirstFailure("n1", 1, FAILED), tmp_path, NodeEvidence(), uneven=uneven
    )
    return found.cause, found.fix


def test_lost_peer_is_told_with_the_file_that_only_some_nodes_had(tmp_path: Path) -> None:
    cause, fix = told(tmp_path, LOST_A_PEER, UNEVEN)
    assert cause.startswith("snapshot.pt of an earlier run was on n0 and not on n[1-2]: ")
    assert fix.startswith("remove it on n0, copy it to n[1-2], or ")


@pytest.mark.parametrize("said", [OWN_MISTAKE, LOST_A_PEER])
def test_file_is_not_told_where_it_explains_nothing(tmp_path: Path, said: str) -> None:
    files = (UNEVEN,) if said == OWN_MISTAKE else ()
    assert "snapshot.pt" not in " ".join(told(tmp_path, said, *files))


def test_files_are_those_of_the_last_attempt(tmp_path: Path) -> None:
    log = EventLog(tmp_path / EVENTS)
    log.append(UNEVEN)
    assert state_of(tmp_path).uneven == [UNEVEN]
    log.append(events.Restarting(1, 2, "rank 1 failed"))
    assert state_of(tmp_path).uneven == []
    log.close()
