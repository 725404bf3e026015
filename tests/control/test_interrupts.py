"""What the user asks of a run by signals."""

from __future__ import annotations

import asyncio
import signal

import pytest

from orchestrator.control.interrupts import Interrupts
from orchestrator.errors import Interrupted

SOON = 5.0


async def test_wait_for_count_of_signals_and_first_signal_is_kept() -> None:
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
    await asyncio.wait_for(interrupts.wait(2), SOON)  # that many were sent already


async def test_send_after_a_cancelled_wait_is_counted() -> None:
    interrupts = Interrupts()
    waiting = asyncio.create_task(interrupts.wait(1))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    interrupts.send(signal.SIGINT)
    assert interrupts.count == 1


async def test_hang_up_of_started_run_detaches_with_the_first_reason() -> None:
    interrupts = Interrupts()
    interrupts.has_started = True
    detaching = asyncio.create_task(interrupts.wait_for_detach())
    await asyncio.sleep(0)
    assert not detaching.done()
    interrupts.hang_up(signal.SIGHUP, "the terminal closed")
    interrupts.hang_up(signal.SIGQUIT, "Ctrl-\\")
    assert await asyncio.wait_for(detaching, SOON) == "the terminal closed"
    assert (interrupts.count, interrupts.signal) == (0, None)


async def test_hang_up_before_the_start_ends_the_run() -> None:
    interrupts = Interrupts()
    interrupts.hang_up(signal.SIGHUP, "the terminal closed")
    assert (interrupts.detach_reason, interrupts.count, interrupts.signal) == (
        None,
        1,
        signal.SIGHUP,
    )


async def test_detach_before_the_start_is_remembered() -> None:
    interrupts = Interrupts()
    interrupts.detach("detached")
    interrupts.has_started = True
    interrupts.hang_up(signal.SIGHUP, "the terminal closed")
    assert await asyncio.wait_for(interrupts.wait_for_detach(), SOON) == "detached"


async def test_forbidden_detach_is_refused_and_hang_up_ends_the_run() -> None:
    interrupts, refusals = Interrupts(), []
    interrupts.forbid_detach(lambda: refusals.append("refused"))
    interrupts.has_started = True
    interrupts.detach("left with Ctrl-\\")
    assert (interrupts.detach_reason, interrupts.count, refusals) == (None, 0, ["refused"])
    interrupts.hang_up(signal.SIGHUP, "the terminal was closed")
    assert (interrupts.detach_reason, interrupts.count, interrupts.signal) == (
        None,
        1,
        signal.SIGHUP,
    )


async def test_abort_without_signal_returns_the_result() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    assert await Interrupts().abort(work()) == 7


async def test_abort_raises_the_error_of_the_work() -> None:
    async def work() -> None:
        raise ValueError("it failed")

    with pytest.raises(ValueError, match="it failed"):
        await Interrupts().abort(work())


async def test_abort_at_a_signal_cancels_the_work_and_waits_for_its_cleanup() -> None:
    interrupts = Interrupts()
    steps: list[str] = []

    async def work() -> None:
        interrupts.send(signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("cleanup")

    with pytest.raises(Interrupted) as caught:
        await asyncio.wait_for(interrupts.abort(work()), SOON)
    assert caught.value.exit_code == 128 + signal.SIGTERM
    assert steps == ["cleanup"]


async def test_abort_of_work_done_at_the_signal_returns_the_result() -> None:
    interrupts = Interrupts()

    async def work() -> int:
        interrupts.send(signal.SIGINT)
        return 7

    assert await interrupts.abort(work()) == 7
    assert interrupts.count == 1
