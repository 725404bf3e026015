"""The header before the ranks run: who is done, who failed, who is waited for."""

from __future__ import annotations

from orchestrator.ui.phases import Phases

NODES = [f"node{number}" for number in range(8)]


def test_who_is_waited_for_is_named_as_far_as_there_is_room() -> None:
    phases = Phases(live=False)
    phases.begin("connect", NODES)
    assert phases.render().plain == "connect 8 nodes"
    phases.advance("connect", "node1", True)
    phases.advance("connect", "node3", False)
    assert phases.render().plain == (
        "connect 2/8, not node3, waiting for node0, node2, node4, node5 and 2 more"
    )


def test_phases_that_are_done_show_their_times() -> None:
    phases = Phases(live=False)
    phases.say("run lusab-babad")
    phases.begin("connect", NODES)
    phases.end("connect", 0.314, "")
    phases.begin("sync", NODES)
    phases.sync("node0", 1_500_000, 3_000_000)
    phases.sync("node1", 0, 3_000_000)
    assert phases.render().plain == (
        "run lusab-babad\n✓ connect 0.31 s  \nsync 1.5 MB of 6.0 MB to 2 nodes"
    )
    phases.end("sync", 1.0, "3 files")
    assert phases.summary() == "run lusab-babad\n      connect 0.31 s · sync 1.00 s (3 files)"
