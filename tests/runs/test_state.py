"""The state of a run, from its events."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator import events
from orchestrator.node.reasons import StopReason
from orchestrator.reasons import Stop
from orchestrator.runs.event_log import LoggedEvent
from orchestrator.runs.state import NodeCondition, RankState, RunState, replay


def began(rank: int, attempt: int = 0) -> events.RankBegan:
    return events.RankBegan(rank, 0, f"n{rank}", attempt, 100 + rank + 10 * attempt, 1.0 + attempt)


def ended(rank: int, code: int | None = 0, signal: int | None = None) -> events.RankEnded:
    return events.RankEnded(rank, f"n{rank}", code, signal, 9.0)


def folded(*happened: events.Event) -> RunState:
    """Return the state after these events, one per second."""
    return replay(LoggedEvent(float(at), event) for at, event in enumerate(happened))


def events_of(ends: list[tuple[int, int | None]]) -> list[events.Event]:
    """Return the events of a new controller about ranks with these attempts and exit codes."""
    emitted: list[events.Event] = []
    for rank, (attempts, code) in enumerate(ends):
        emitted.append(events.Following(f"n{rank}"))
        for attempt in range(attempts):
            last = attempt == attempts - 1
            emitted.append(began(rank, attempt))
            emitted += [ended(rank, code if last else 1)] if not last or code is not None else []
        if code is not None:
            emitted.append(events.NodeEnded(f"n{rank}", "ended", ()))
    return emitted


def test_replay_of_no_events_is_empty() -> None:
    assert replay([]) == RunState()


def test_rank_begins_and_ends() -> None:
    state = folded(began(3), ended(3, None, 9))
    assert state.ranks == {("n3", 0): RankState(3, 0, "n3", 0, 103, 1.0, 9.0, None, 9)}


def test_restarted_rank_is_running() -> None:
    rank = folded(began(0), ended(0, 1), began(0, attempt=1)).ranks["n0", 0]
    assert (rank.attempt, rank.pid, rank.ended, rank.code) == (1, 110, None, None)


def test_repeated_end_of_an_earlier_attempt_is_ignored() -> None:
    happened = (began(0), ended(0, 1), began(0, attempt=1))
    rank = folded(*happened, began(0), ended(0, 1)).ranks["n0", 0]
    assert (rank.attempt, rank.ended) == (1, None)


def test_rank_that_moved_frees_its_place() -> None:
    """An elastic job that lost a node renumbers the ranks of the others, also within one attempt."""

    def began_at(rank: int, node: str, pid: int, at: float) -> events.RankBegan:
        return events.RankBegan(rank, 0, node, 0, pid, at)

    before = (began_at(0, "n0", 7, 1.0), began_at(1, "n1", 8, 1.0), ended(1, None, 15))
    state = folded(*before, began_at(0, "n1", 9, 2.0))
    assert {place: rank.rank for place, rank in state.ranks.items()} == {("n0", 0): 0, ("n1", 0): 0}
    assert state.ranks["n1", 0].ended is None
    again = folded(*before, began_at(0, "n1", 9, 2.0), *before)  # repeated by another controller
    assert again.ranks == state.ranks


def test_end_without_a_start_is_ignored() -> None:
    assert folded(ended(0)).ranks == {}  # the line of its start was torn


def test_node_is_unreachable_from_the_first_loss_until_it_is_followed() -> None:
    lost = events.NodeLost("n0", "the connection broke")
    still = events.NodeLost("n0", "no route to host")  # reported by another controller
    state = folded(events.Following("n0"), lost, still)
    assert state.nodes["n0"] == NodeCondition("n0", "running", 1.0, "no route to host")
    state = folded(events.Following("n0"), lost, still, events.Following("n0"))
    assert state.nodes["n0"].unreachable_since is None


def test_node_that_was_never_followed_is_unknown() -> None:
    state = folded(events.NodeLost("n0", "refused"))
    assert state.nodes["n0"].state == "unknown"


def test_ended_node_keeps_its_leftover_processes() -> None:
    state = folded(
        events.Following("n0"), events.NodeEnded("n0", "lost", (7, 8)), events.Following("n0")
    )
    assert state.nodes["n0"] == NodeCondition("n0", "lost", left=(7, 8))


def test_warnings_and_the_stop_reason_are_kept() -> None:
    state = folded(
        events.Warned("a"), events.Stopping(Stop(StopReason.INTERRUPT), 3.0), events.Warned("b")
    )
    assert (state.warnings, state.stopping) == (["a", "b"], Stop(StopReason.INTERRUPT))


ENDS: Any = st.lists(
    st.tuples(st.integers(1, 3), st.none() | st.integers(0, 3)), min_size=1, max_size=4
)


@given(ENDS, st.integers(0, 40))
def test_events_repeated_by_another_controller_change_nothing(
    ends: list[tuple[int, int | None]], cut: int
) -> None:
    emitted = events_of(ends)
    state = folded(*emitted)
    again = folded(*emitted, *emitted[:cut])  # it may still be writing, or have ended early
    assert (again.ranks, again.nodes) == (state.ranks, state.nodes)
    assert folded(*emitted, *emitted) == state


def test_restart_clears_nodes_and_ranks() -> None:
    happened = (
        events.Following("n0"), began(0), ended(0, 1), events.Stopping(Stop(StopReason.RANK_FAILED), 3.0),
        events.NodeEnded("n0", "ended", ()), events.Stalled(60.0, (), (), "r0 is at train.py:8"),
    )  # fmt: skip
    again = (*happened, events.Restarting(2, 3, "rank 0 on n0 exited with 1"))
    state = folded(*again)
    assert (state.nodes, state.ranks, state.stopping, state.stalled) == ({}, {}, None, None)
    state = folded(*again, events.Following("n0"), began(0, attempt=1))
    assert (state.nodes["n0"].state, state.ranks["n0", 0].attempt) == ("running", 1)


def test_node_that_left_stays_left() -> None:
    lost = events.NodeLost("n0", "the connection broke")
    left = events.NodeLeft("n0", "vanished", 1, 2)
    for after in ((), (lost,), (events.Following("n0"), events.NodeEnded("n0", "ended", ()))):
        node = folded(events.Following("n0"), lost, left, *after).nodes["n0"]
        assert (node.state, node.cause) == ("left", "vanished")


def test_gone_node_is_known_until_the_restart() -> None:
    gone = events.NodeGone("n0", "vanished")
    assert replay([LoggedEvent(1.0, gone)]).nodes["n0"].gone == "vanished"
    again = replay(
        [LoggedEvent(1.0, gone), LoggedEvent(2.0, events.Restarting(2, 3, "n0 vanished"))]
    )
    assert again.nodes == {}
