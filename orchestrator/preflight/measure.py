"""Measure what checks need, each thing once, and judge it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from orchestrator.errors import LaunchError, NodeError
from orchestrator.preflight.answers import parsed, text
from orchestrator.preflight.circuit_breaker import circuit_breaker
from orchestrator.preflight.judge import judge_check
from orchestrator.preflight.model import (
    Advance,
    Check,
    Context,
    Finding,
    Level,
    Measurement,
    NoAnswer,
    NodeContext,
    Probe,
    Status,
)
from orchestrator.preflight.report import Report, Result
from orchestrator.preflight.verdict import Verdict
from orchestrator.remote.agent import Agent
from orchestrator.remote.fleet import Fleet
from orchestrator.util.log import logger

# Seconds for all probes of a node. Importing torch from a cold disk takes long.
_PROBE_TIMEOUT = {Level.QUICK: 20.0, Level.FULL: 60.0}

log = logger("preflight")

Begin = Callable[[str], AbstractContextManager[Advance]]
"""Starts a step with this title; it ends with the context."""


async def measure(fleet: Fleet, context: Context, checks: Sequence[Check], begin: Begin) -> Context:
    """Return `context` with everything that `checks` need; the fleet's agents are those of its nodes.

    What cannot be measured is a NoAnswer there, never an exception.
    """
    fleet = circuit_breaker(fleet)
    probes = list({probe.name: probe for check in checks for probe in check.probes}.values())
    measurements = list(
        {each.kind: each for check in checks for each in check.measurements}.values()
    )
    # A full preflight shows one step at a time; a quick one saves time.
    beside = [each for each in measurements if each.independent and context.level is Level.QUICK]
    answers, *found = await asyncio.gather(
        _ask_all(fleet, context, probes, begin),
        *(_measure(fleet, context, each, begin) for each in beside),
    )
    measured = dict(zip((each.kind for each in beside), found, strict=True))
    context = replace(context, answers=answers, measured=measured)
    for each in measurements:
        if each not in beside:
            result = await _measure(fleet, context, each, begin)
            context = replace(context, measured={**context.measured, each.kind: result})
    return context


async def _measure(
    fleet: Fleet, context: Context, measurement: Measurement[Any], begin: Begin
) -> Any:
    log.debug("measuring: %s", measurement.title)
    with begin(measurement.title) as advance:
        try:
            return await measurement.measure(fleet, context, advance)
        except LaunchError as error:
            log.info("not measured: %s: %s", measurement.title, error)
            return NoAnswer(str(error))
        except Exception as error:  # a bug in one measurement must not hide the others
            log.exception("not measured: %s", measurement.title)
            return NoAnswer(_bug(error))


def judge(context: Context, checks: Sequence[Check]) -> Report:
    """Return the verdicts of `checks` on what was measured."""
    report = Report(context, tuple(Result(check, _judge(context, check)) for check in checks))
    if log.isEnabledFor(logging.INFO):
        for result in report.results:
            log.debug("%s: %s", result.check.id, result.status)
        log.info("%d checks: %s", len(checks), report.status)
    return report


def _judge(context: Context, check: Check) -> tuple[Finding, ...]:
    try:
        return tuple(judge_check(check, context))
    except Exception as error:  # a bug in one check must not hide the others
        log.exception("%s could not be judged", check.id)
        message = f"could not be judged: {_bug(error)}"
        return (Verdict(Status.INCOMPLETE, message).on(context.names),)


def _bug(error: Exception) -> str:
    return text(f"a bug in orch: {type(error).__name__}: {error}")


async def _ask_all(
    fleet: Fleet, context: Context, probes: Sequence[Probe[Any]], begin: Begin
) -> dict[str, dict[str, Any]]:
    """Return {probe: {node: its answer, parsed}}."""
    if not probes:
        return {}

    async def ask(agent: Agent, node: NodeContext, advance: Advance) -> dict[str, Any]:
        answers = await ask_one(agent, node, probes)
        advance(node.name, not any(isinstance(a, NoAnswer) for a in answers.values()))
        return answers

    with begin("nodes") as advance:
        pairs = zip(fleet.agents, context.nodes, strict=True)
        found = await asyncio.gather(*(ask(agent, node, advance) for agent, node in pairs))
    answers = dict(zip(context.names, found, strict=True))
    return {probe.name: {n: own[probe.name] for n, own in answers.items()} for probe in probes}


async def ask_one(agent: Agent, node: NodeContext, probes: Sequence[Probe[Any]]) -> dict[str, Any]:
    """Return the answers of one node, by probe."""
    wanted = {probe.name: dict(probe.arguments(node)) for probe in probes}
    limit = _PROBE_TIMEOUT[node.context.level]
    try:
        raw = await agent.ask("check", timeout=limit + 10, limit=limit, probes=wanted)
    except NodeError as error:
        return dict.fromkeys(wanted, NoAnswer(error.text))
    return {probe.name: parse(probe, raw) for probe in probes}


def parse(probe: Probe[Any], raw: Any) -> Any:
    """Return the part of a node's answer that is this probe's, parsed, or a NoAnswer."""

    def part(answer: Any) -> Any:
        return NoAnswer(text(answer["error"])) if "error" in answer else probe.parse(answer["ok"])

    return parsed(part, raw.get(probe.name) if isinstance(raw, dict) else raw)
