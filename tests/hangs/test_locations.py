"""Where a rank is in its code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.hangs.locations import group_ranks, location_of
from orchestrator.hangs.snapshot import Frame
from tests.hangs.helpers import ALL_REDUCE, BARRIER, LOADER, MODULE, TORCH, TRAIN


@pytest.mark.parametrize(
    ("stack", "place", "is_wait"),
    [
        (ALL_REDUCE, "all_reduce (train.py:88)", True),
        (BARRIER, "barrier (train.py:88)", True),
        (LOADER, "next(loader) (data.py:40)", False),
        (TRAIN, "train (train.py:88)", False),
        ((MODULE,), "<module> (train.py:101)", False),
        (
            # A script that is installed as a package: its own frame, not torch's.
            (
                Frame("backward", f"{TORCH}/_tensor.py", 648),
                Frame("step", "/venv/lib/python3.11/site-packages/theirs/train.py", 7),
                Frame("_run_code", "<frozen runpy>", 88),
            ),
            "backward (train.py:7)",
            False,
        ),
        (
            (
                Frame("rendezvous", f"{TORCH}/distributed/elastic/rendezvous/x.py", 1),
                Frame("_run_code", "<frozen runpy>", 88),
            ),
            "rendezvous (x.py:1)",
            False,
        ),
        ((Frame("all_reduce", "/job/own.py", 3), *TRAIN), "all_reduce (own.py:3)", False),
    ],
)
def test_location_is_the_call_that_the_users_code_makes(
    stack: tuple[Frame, ...], place: str, is_wait: bool
) -> None:
    found = location_of(stack)
    assert found is not None
    assert (str(found), found.is_wait) == (place, is_wait)


def test_location_of_no_frames_is_none() -> None:
    assert location_of(()) is None


def test_group_ranks_puts_ranks_at_one_location_together() -> None:
    places = [(rank, "all_reduce (train.py:88)") for rank in range(63)]
    assert group_ranks([(63, "next(loader) (data.py:40)"), *places]) == (
        "r[0-62] all_reduce (train.py:88)",
        "r63 next(loader) (data.py:40)",
    )
    assert group_ranks([(2, "a"), (0, "a"), (1, "b")]) == ("r[0,2] a", "r1 b")


FRAMES = st.builds(Frame, st.text(), st.text(), st.integers(0))


@given(st.lists(FRAMES, min_size=1, max_size=5))
def test_location_of_any_stack_is_in_it(stack: list[Frame]) -> None:
    place = location_of(stack)
    assert place is not None
    assert place.line in {frame.line for frame in stack}


@given(st.lists(st.tuples(st.integers(0, 99), st.text()), unique_by=lambda item: item[0]))
def test_group_ranks_has_one_entry_per_location(places: list[tuple[int, str]]) -> None:
    assert len(group_ranks(places)) == len({place for _, place in places})
