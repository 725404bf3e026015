"""A rank that advances clearly slower than the others is found by the step numbers that it prints."""

from __future__ import annotations

import pytest

from orchestrator.hangs.step_rates import StepRates


def printed(rates: StepRates, speeds: list[float], seconds: float, first: float = 0.0) -> None:
    """Have ranks print their step every 5 seconds, each at its speed in steps a second."""
    at = first
    while at <= first + seconds:
        for rank, speed in enumerate(speeds):
            rates.note(rank, f"step {int(at * speed)} loss 0.3\n".encode(), at)
        rates.advance()
        at += 5.0


def test_slow_rank_is_found_with_its_speed() -> None:
    rates = StepRates()
    printed(rates, [4.0, 4.0, 2.0], 60)
    slow = rates.find_slow(3)
    assert slow is not None
    assert slow.rank == 2
    assert str(slow) == "2 steps a second, the others 4"


def test_equal_and_nearly_equal_ranks_are_not_found() -> None:
    rates = StepRates()
    printed(rates, [4.0, 4.0, 3.5], 60)
    assert rates.find_slow(3) is None
    assert rates.usual() == pytest.approx(4.0, rel=0.1)


def test_rank_that_was_slow_only_at_first_is_not_found() -> None:
    rates = StepRates()
    printed(rates, [4.0, 4.0, 1.0], 30)
    printed(rates, [4.0, 4.0, 4.0], 30, first=35.0)
    assert rates.find_slow(3) is None


def test_a_minute_and_every_rank_is_needed() -> None:
    rates = StepRates()
    printed(rates, [4.0, 2.0], 20)
    assert rates.find_slow(2) is None
    printed(rates, [4.0, 2.0], 60, first=25.0)
    assert rates.find_slow(2) is not None
    assert rates.find_slow(3) is None  # the third does not print its steps


def test_next_epoch_begins_again() -> None:
    rates = StepRates()
    printed(rates, [4.0, 2.0], 60)
    for rank in range(2):
        rates.note(rank, b"step 0\n", 70.0)
    rates.advance()
    assert rates.find_slow(2) is None


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe\n", b"step 12", b"step\n", b"step nan\n", b"x" * 100_000]
)
def test_output_without_a_step_has_no_rate(data: bytes) -> None:
    rates = StepRates()
    rates.note(0, data, 1.0)
    rates.advance()
    assert rates.usual() is None
    assert rates.find_slow(1) is None
