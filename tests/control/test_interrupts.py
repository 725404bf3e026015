"""What a person wishes of a run by signals."""

from __future__ import annotations

import asyncio
import signal

import pytest

from orchestrator.control.interrupts import Interrupts
from orchestrator.errors import Interrupted

SOON = 5.0


async def test_the_first_signal_says_how_it_ended_and_all_are_counted() -> None:
    interrupts = Interrupts()
    first, third = (asyncio.create_task(interrupts.wait(count)) for count in (1, 3))
    await asyncio.sleep(0)
    for number in (signal.SIGINT, signal.SIGTERM):
        interrupts.send(number)
    await asyncio.wait_for(first, SOON)
    assert not third.done()
    interrupts.send(signal.SIGINT)
    await asyncio.wait_for(third, SOON)
    assert (interrupts.signal, interrupts.count) == (signal.SIGINT, 3)
    await asyncio.wait_for(interrupts.wait(2), SOON)  # that many have come already


async def test_somebody_who_waits_no_more_is_no_trouble() -> None:
    interrupts = Interrupts()
    waiting = asyncio.create_task(interrupts.wait(1))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    interrupts.send(signal.SIGINT)
    assert interrupts.count == 1


async def test_a_person_who_leaves_once_it_has_started_lets_it_go_on() -> None:
    interrupts = Interrupts()
    interrupts.has_started = True
    leaving = asyncio.create_task(interrupts.wait_for_leave())
    await asyncio.sleep(0)
    assert not leaving.done()
    interrupts.hang_up(signal.SIGHUP, "the terminal closed")
    interrupts.hang_up(signal.SIGQUIT, "Ctrl-\\")
    assert await asyncio.wait_for(leaving, SOON) == "the terminal closed"
    assert (interrupts.count, interrupts.signal) == (0, None)


async def test_a_person_who_leaves_before_anything_has_started_ends_it() -> None:
    interrupts = Interrupts()
    interrupts.hang_up(signal.SIGHUP, "the terminal closed")
    assert (interrupts.leaving, interrupts.count, interrupts.signal) == (None, 1, signal.SIGHUP)


async def test_what_is_to_be_left_may_be_said_before_it_has_started() -> None:
    interrupts = Interrupts()
    interrupts.leave("detached")
    interrupts.has_started = True
    interrupts.hang_up(signal.SIGHUP, "the terminal closed")
    assert await asyncio.wait_for(interrupts.wait_for_leave(), SOON) == "detached"


async def test_leaving_that_is_refused_is_told_and_the_end_of_the_terminal_ends_the_run() -> None:
    interrupts, refusals = Interrupts(), []
    interrupts.refuse_to_leave(lambda: refusals.append("refused"))
    interrupts.has_started = True
    interrupts.leave("left with Ctrl-\\")
    assert (interrupts.leaving, interrupts.count, refusals) == (None, 0, ["refused"])
    interrupts.hang_up(signal.SIGHUP, "the terminal was closed")
    assert (interrupts.leaving, interrupts.count, interrupts.signal) == (None, 1, signal.SIGHUP)


async def test_work_that_nobody_interrupts_gives_its_result() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    assert await Interrupts().abort(work()) == 7


async def test_a_failure_of_the_work_is_told() -> None:
    async def work() -> None:
        raise ValueError("it failed")

    with pytest.raises(ValueError, match="it failed"):
        await Interrupts().abort(work())


async def test_a_signal_cancels_the_work_and_waits_until_it_has_put_things_right() -> None:
    interrupts = Interrupts()
    told: list[str] = []

    async def work() -> None:
        interrupts.send(signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            told.append("put right")

    with pytest.raises(Interrupted) as caught:
        await asyncio.wait_for(interrupts.abort(work()), SOON)
    assert caught.value.exit_code == 128 + signal.SIGTERM
    assert told == ["put right"]


async def test_work_that_is_done_when_the_signal_comes_counts() -> None:
    interrupts = Interrupts()

    async def work() -> int:
        interrupts.send(signal.SIGINT)
        return 7

    assert await interrupts.abort(work()) == 7
    assert interrupts.count == 1
