"""Commands that need more than the transport can do are refused with a remedy."""

from __future__ import annotations

import pytest

from orchestrator.errors import UsageError
from orchestrator.pipeline.transport_needs import (
    require_background,
    require_files,
    require_sessions,
    require_time_limit,
)
from tests.remote.fake import FakeTransport


def test_transport_with_all_capabilities_is_accepted() -> None:
    transport = FakeTransport()
    require_background(transport, "--detach")
    require_time_limit(transport, None)
    require_files(transport, "--sync", "--no-sync")
    require_sessions(transport, "-w", "cd")


def test_background_is_refused_if_runs_end_with_their_controller() -> None:
    with pytest.raises(UsageError, match="--detach: with transport fake a run ends with its contr"):
        require_background(FakeTransport(outlives_controller=False), "--detach")


@pytest.mark.parametrize(
    ("cannot", "why"),
    [("carries_rsync", "does not carry rsync"), ("many_sessions", "has one session a node")],
)
def test_files_are_refused_without_rsync(cannot: str, why: str) -> None:
    with pytest.raises(UsageError, match=f"--sync: transport fake {why}") as caught:
        require_files(FakeTransport(**{cannot: False}), "--sync", "use --no-sync")
    assert caught.value.remedy == "use --no-sync"


def test_second_session_is_refused_if_a_node_has_one() -> None:
    with pytest.raises(UsageError, match="-w: transport fake has one session a node"):
        require_sessions(FakeTransport(many_sessions=False), "-w", "cd")


def test_command_needs_a_time_limit_if_lost_nodes_are_not_detected() -> None:
    transport = FakeTransport(detects_lost_link=False)
    require_time_limit(transport, 10.0)
    with pytest.raises(UsageError, match="does not detect lost nodes") as caught:
        require_time_limit(transport, None)
    assert "--timeout" in str(caught.value.remedy)
