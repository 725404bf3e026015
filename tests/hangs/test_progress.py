"""Whether a run gets on."""

from __future__ import annotations

import pytest

from orchestrator.hangs.progress import has_progressed
from orchestrator.hangs.snapshot import Process
from tests.hangs.helpers import ALL_REDUCE, LOADER, TRAIN, look, process


def moved(before: list[Process], after: list[Process], seconds: float = 10.0) -> bool:
    return has_progressed(look("n0", *before), look("n0", *after, at=100.0 + seconds))


def test_a_rank_that_idles_does_not_get_on_wherever_it_is() -> None:
    for stack in (ALL_REDUCE, LOADER, TRAIN, ()):
        assert not moved([process(0, stack)], [process(0, stack, used=1.3, main_used=1.3)])


def test_a_rank_that_computes_gets_on() -> None:
    for stack in (LOADER, TRAIN, ()):
        assert moved([process(0, stack)], [process(0, stack, used=9.0, main_used=9.0)])


def test_one_that_spins_where_ranks_wait_does_not() -> None:
    assert not moved([process(0, ALL_REDUCE)], [process(0, ALL_REDUCE, used=11.0, main_used=11.0)])


def test_a_collective_that_works_in_other_threads_does() -> None:
    assert moved([process(0, ALL_REDUCE)], [process(0, ALL_REDUCE, used=11.0, main_used=3.0)])


def test_one_that_is_elsewhere_gets_on() -> None:
    assert moved([process(0, ALL_REDUCE)], [process(0, LOADER)])
    assert not moved([process(0, ALL_REDUCE)], [process(0)])  # it could not be asked this time


def test_one_that_reads_gets_on() -> None:
    assert moved([process(0, LOADER)], [process(0, LOADER, moved=1 << 20)])
    assert not moved([process(0, LOADER)], [process(0, LOADER, moved=9_000)])


@pytest.mark.parametrize("known", [True, False])
def test_what_a_rank_has_started_works_for_it(known: bool) -> None:
    worker = process(0, pid=7, is_own=False, used=2.0)
    later = process(0, pid=7, is_own=False, used=5.0)
    before = [process(0, ALL_REDUCE), *([worker] if known else [])]
    assert moved(before, [process(0, ALL_REDUCE), later])


def test_a_rank_that_began_or_ended_is_motion() -> None:
    assert moved([process(0, TRAIN)], [process(0, TRAIN), process(1, TRAIN)])
    assert moved([process(0, TRAIN), process(1, TRAIN)], [process(0, TRAIN)])


def test_a_launcher_is_judged_by_its_work_alone() -> None:
    assert not moved([process(None, TRAIN)], [process(None, LOADER)])
    assert moved([process(None, TRAIN)], [process(None, TRAIN, used=9.0)])


def test_clock_ticks_are_no_work_however_soon_the_next_look() -> None:
    assert not moved([process(0, TRAIN)], [process(0, TRAIN, used=1.08)], seconds=0.5)
    assert moved([process(0, TRAIN)], [process(0, TRAIN, used=1.3)], seconds=0.5)
