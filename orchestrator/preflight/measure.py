"""Measure all that some checks need, each thing once, and judge it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from orchestrator.errors import LaunchError, NodeError
from orchestrator.preflight.judge import whole
from orchestrator.preflight.model import Check, Finding, Level, NoAnswer, Probe, Status
from orchestrator.preflight.report import Report, Result
from orchestrator.preflight.scene import Advance, Scene, Subject
from orchestrator.remote.agent import Agent
from orchestrator.remote.fleet import Fleet
from orchestrator.remote.text import printable

PROBE_TIME = {Level.QUICK: 20.0, Level.FULL: 60.0}
"""Seconds that a node's own probes may take, all together. Importing torch from a cold disk takes many."""

_MOST_VALUES = 50_000
_LONGEST_TEXT = 1 << 16
_ENDLESS = re.compile(r"\s*[+-]?[\d_]{30,}\s*")  # what int() takes as well
_LARGEST_NUMBER = 1 << 65  # counters have 64 bits

Begin = Callable[[str], AbstractContextManager[Advance]]
"""Begins a step of this title; it ends with the context."""


async def measure(fleet: Fleet, scene: Scene, checks: Sequence[Check], begin: Begin) -> Scene:
    """Return `scene` with everything that `checks` look at; the fleet's agents are those of its nodes.

    What cannot be measured is a NoAnswer there, never an exception.
    """
    probes = list({probe.name: probe for check in checks for probe in check.probes}.values())
    if probes:
        with begin("nodes") as advance:
            scene = replace(scene, answers=await _ask_all(fleet, scene, probes, advance))
    for stage in {stage.kind: stage for check in checks for stage in check.stages}.values():
        with begin(stage.title) as advance:
            try:
                found = await stage.measure(fleet, scene, advance)
            except LaunchError as error:
                found = NoAnswer(str(error))
            except Exception as error:  # a mistake of ours in one stage: the others still tell
                found = NoAnswer(_mistake(error))
        scene = replace(scene, measured={**scene.measured, stage.kind: found})
    return scene


def judge(scene: Scene, checks: Sequence[Check]) -> Report:
    """Return the verdicts of `checks` on what was measured."""
    return Report(scene, tuple(Result(check, _judge(scene, check)) for check in checks))


def _judge(scene: Scene, check: Check) -> tuple[Finding, ...]:
    try:
        return tuple(check.verdict(scene))
    except Exception as error:  # a mistake of ours in one check: the others still tell
        return tuple(whole(scene, Status.INCOMPLETE, f"could not be judged: {_mistake(error)}"))


def _mistake(error: Exception) -> str:
    return printable(f"a mistake of orch's own: {type(error).__name__}: {error}", 300)


async def _ask_all(
    fleet: Fleet, scene: Scene, probes: Sequence[Probe[Any]], advance: Advance
) -> dict[str, dict[str, Any]]:
    """Return {probe: {node: its answer, parsed}}."""

    async def ask(agent: Agent, subject: Subject) -> dict[str, Any]:
        answers = await ask_one(agent, subject, probes)
        advance(subject.name, not any(isinstance(a, NoAnswer) for a in answers.values()))
        return answers

    pairs = zip(fleet.agents, scene.subjects, strict=True)
    found = await asyncio.gather(*(ask(agent, subject) for agent, subject in pairs))
    return {
        probe.name: {
            name: answers[probe.name] for name, answers in zip(scene.names, found, strict=True)
        }
        for probe in probes
    }


async def ask_one(agent: Agent, subject: Subject, probes: Sequence[Probe[Any]]) -> dict[str, Any]:
    """Return what one node answers to each probe."""
    wanted = {probe.name: dict(probe.arguments(subject)) for probe in probes}
    limit = PROBE_TIME[subject.scene.level]
    try:
        raw = await agent.ask("check", timeout=limit + 10, limit=limit, probes=wanted)
    except NodeError as error:
        return dict.fromkeys(wanted, NoAnswer(error.message.removeprefix(f"{subject.name}: ")))
    return {probe.name: parse(probe, raw) for probe in probes}


def parse(probe: Probe[Any], raw: Any) -> Any:
    """Return what a node's answer to all its probes has on this one, or a NoAnswer."""
    try:
        answer = raw[probe.name]
        if "error" in answer:
            return NoAnswer(printable(str(answer["error"]), 300))
        _check_sizes(answer)
        return probe.parse(answer["ok"])
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        return NoAnswer(printable(f"the node's answer makes no sense: {error!r}", 300))


def _check_sizes(answer: Any) -> None:
    """Raise ValueError for what no honest node says, and verdicts could not calculate with."""
    count, waiting = 0, [answer]
    while waiting:
        value = waiting.pop()
        count += 1
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str):
            if len(value) > _LONGEST_TEXT or _ENDLESS.fullmatch(value):
                raise ValueError(f"a text, or a number, of {len(value)} characters")
        elif isinstance(value, int | float) and not abs(value) < _LARGEST_NUMBER:
            raise ValueError("a number that is none, or is too large")
    if count > _MOST_VALUES:
        raise ValueError(f"{count} values")
