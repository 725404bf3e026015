"""Whether a run progresses."""

from __future__ import annotations

import pytest

from orchestrator.hangs.progress import has_progressed
from orchestrator.hangs.snapshot import Process
from tests.hangs.helpers import ALL_REDUCE, LOADER, TRAIN, process, snapshot


def progressed(before: list[Process], after: list[Process], seconds: float = 10.0) -> bool:
    return has_progressed(snapshot("n0", *before), snapshot("n0", *after, at=100.0 + seconds))


def test_idle_rank_has_not_progressed() -> None:
    for stack in (ALL_REDUCE, LOADER, TRAIN, ()):
        assert not progressed([process(0, stack)], [process(0, stack, used=1.3, main_used=1.3)])


def test_computing_rank_has_progressed() -> None:
    for stack in (LOADER, TRAIN, ()):
        assert progressed([process(0, stack)], [process(0, stack, used=9.0, main_used=9.0)])


def test_rank_spinning_in_a_wait_has_not_progressed() -> None:
    assert not progressed(
        [process(0, ALL_REDUCE)], [process(0, ALL_REDUCE, used=11.0, main_used=11.0)]
    )


def test_collective_working_in_other_threads_has_progressed() -> None:
    assert progressed([process(0, ALL_REDUCE)], [process(0, ALL_REDUCE, used=11.0, main_used=3.0)])


def test_rank_with_another_stack_has_progressed() -> None:
    assert progressed([process(0, ALL_REDUCE)], [process(0, LOADER)])
    assert not progressed([process(0, ALL_REDUCE)], [process(0)])  # it could not be asked this time


def test_reading_rank_has_progressed() -> None:
    assert progressed([process(0, LOADER)], [process(0, LOADER, moved=1 << 20)])
    assert not progressed([process(0, LOADER)], [process(0, LOADER, moved=9_000)])


@pytest.mark.parametrize("known", [True, False])
def test_rank_with_a_busy_child_has_progressed(known: bool) -> None:
    worker = process(0, pid=7, is_own=False, used=2.0)
    later = process(0, pid=7, is_own=False, used=5.0)
    before = [process(0, ALL_REDUCE), *([worker] if known else [])]
    assert progressed(before, [process(0, ALL_REDUCE), later])


def test_started_or_ended_rank_is_progress() -> None:
    assert progressed([process(0, TRAIN)], [process(0, TRAIN), process(1, TRAIN)])
    assert progressed([process(0, TRAIN), process(1, TRAIN)], [process(0, TRAIN)])


def test_launcher_progresses_by_cpu_only() -> None:
    assert not progressed([process(None, TRAIN)], [process(None, LOADER)])
    assert progressed([process(None, TRAIN)], [process(None, TRAIN, used=9.0)])


def test_clock_ticks_are_no_progress_in_a_short_interval() -> None:
    assert not progressed([process(0, TRAIN)], [process(0, TRAIN, used=1.08)], seconds=0.5)
    assert progressed([process(0, TRAIN)], [process(0, TRAIN, used=1.3)], seconds=0.5)
