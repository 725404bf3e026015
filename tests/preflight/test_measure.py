"""Measuring and judging: a bug in one check does not hide the findings of others."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.preflight.judge import for_all
from orchestrator.preflight.measure import judge, measure, parse
from orchestrator.preflight.model import (
    Advance,
    Check,
    Context,
    Finding,
    Group,
    Level,
    Measurement,
    NoAnswer,
    Probe,
    Status,
)
from orchestrator.preflight.verdict import passed
from orchestrator.remote.fleet import Fleet
from tests.remote.fake import FakeTransport

from .contexts import make_context

NUMBER: Probe[int] = Probe("number", int)


@dataclass(frozen=True)
class Seen:
    """The result of a measurement: what the probes found before it."""

    numbers: dict[str, int | NoAnswer]


def check(id_: str, verdict: Any, **more: Any) -> Check:
    return Check(id_, Group.HOST, Level.QUICK, "it is so", "It is so.", verdict, **more)


def begin(title: str) -> AbstractContextManager[Advance]:
    return nullcontext(lambda name, well: None)


def passes(context: Context) -> list[Finding]:
    return for_all(context, passed("is fine"))


def breaks(context: Context) -> list[Finding]:
    raise ZeroDivisionError("by zero\x1b[2J")


def test_verdict_that_raises_is_incomplete_and_others_are_reported() -> None:
    report = judge(make_context(2), [check("broken", breaks), check("sound", passes)])
    broken, sound = report.results
    assert broken.status is Status.INCOMPLETE
    assert broken.findings[0].nodes == ("node0", "node1")
    assert "ZeroDivisionError: by zero [2J" in broken.findings[0].message
    assert sound.status is Status.PASS


async def test_measurement_that_raises_is_no_answer_and_others_are_measured() -> None:
    @dataclass(frozen=True)
    class Broken:
        pass

    @dataclass(frozen=True)
    class Sound:
        pass

    async def breaks(fleet: Fleet, context: Context, advance: Advance) -> Broken:
        raise ExceptionGroup("several", [IndexError("none")])

    async def goes_well(fleet: Fleet, context: Context, advance: Advance) -> Sound:
        return Sound()

    measurements = (Measurement("broken", Broken, breaks), Measurement("sound", Sound, goes_well))
    fleet = Fleet([], FakeTransport())
    found = await measure(
        fleet, make_context(2), [check("both", passes, measurements=measurements)], begin
    )
    missing = found.find(Broken)
    assert isinstance(missing, NoAnswer) and "ExceptionGroup" in missing.reason
    assert found.find(Sound) == Sound()


async def look_beside_a_probe(level: Level, *, independent: bool, at_once: bool) -> Context:
    """Run a probe and a measurement; with `at_once` the node answers only when the measurement runs."""
    began = asyncio.Event()

    class Node:
        async def ask(self, verb: str, **more: Any) -> Any:
            if at_once:
                await asyncio.wait_for(began.wait(), 5.0)
            return {"number": {"ok": 7}}

    async def look(fleet: Fleet, context: Context, advance: Advance) -> Seen:
        began.set()
        return Seen(context.of(NUMBER))

    measurement = Measurement("look", Seen, look, independent)
    fleet: Any = SimpleNamespace(agents=[Node()])
    checks = [check("both", passes, probes=(NUMBER,), measurements=(measurement,))]
    return await measure(fleet, make_context(1, level=level), checks, begin)


async def test_independent_measurement_runs_beside_the_probes_of_a_quick_preflight() -> None:
    found = await look_beside_a_probe(Level.QUICK, independent=True, at_once=True)
    assert found.of(NUMBER) == {"node0": 7}
    assert found.find(Seen) == Seen({"node0": NoAnswer("it was not asked")})


@pytest.mark.parametrize(
    ("level", "independent"), [(Level.QUICK, False), (Level.FULL, False), (Level.FULL, True)]
)
async def test_other_measurements_run_after_the_probes(level: Level, independent: bool) -> None:
    found = await look_beside_a_probe(level, independent=independent, at_once=False)
    assert found.find(Seen) == Seen({"node0": 7})


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {"ok": "seven"},
        {"ok": float("nan")},
        {"ok": float("inf")},
        {"ok": 10**30},
        {"ok": "9" * 4000},
        {"ok": "7" * 100_000},
        {"ok": [0] * 100_000},
        {},
        {"error": "\x1b[2J" * 100_000},
    ],
)
def test_invalid_answer_is_no_answer_with_a_short_reason(answer: Any) -> None:
    found = parse(NUMBER, {"number": answer})
    assert isinstance(found, NoAnswer)
    assert found.reason.isprintable() and len(found.reason) <= 300


def test_parse_takes_the_part_of_its_probe() -> None:
    assert parse(NUMBER, {"number": {"ok": 7}}) == 7
