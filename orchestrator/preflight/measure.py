"""Measure all that some checks need, each thing once, and judge it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from orchestrator.errors import LaunchError, NodeError
from orchestrator.preflight.model import Check, Level, NoAnswer, Probe
from orchestrator.preflight.report import Report, Result
from orchestrator.preflight.scene import Advance, Scene, Subject
from orchestrator.remote.agent import Agent
from orchestrator.remote.fleet import Fleet

PROBE_TIME = {Level.QUICK: 20.0, Level.FULL: 60.0}
"""Seconds that a node's own probes may take, all together. Importing torch from a cold disk takes many."""

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
        scene = replace(scene, measured={**scene.measured, stage.kind: found})
    return scene


def judge(scene: Scene, checks: Sequence[Check]) -> Report:
    """Return the verdicts of `checks` on what was measured."""
    return Report(scene, tuple(Result(check, tuple(check.verdict(scene))) for check in checks))


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
    return {probe.name: _parse(probe, raw) for probe in probes}


def _parse(probe: Probe[Any], raw: Any) -> Any:
    try:
        answer = raw[probe.name]
        return NoAnswer(str(answer["error"])) if "error" in answer else probe.parse(answer["ok"])
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        return NoAnswer(f"the node's answer makes no sense: {error!r}")
