"""From what a launch is given, on the command line or in Python, to the request that it means.

Only here are hosts, job and options put together, so both ways in have the same rules and messages.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from orchestrator.api.hosts import Choice, chosen
from orchestrator.api.job import JobWords, local_name, read_job
from orchestrator.api.launch import Request
from orchestrator.api.program import check_started_once
from orchestrator.errors import UsageError
from orchestrator.pipeline.outgoing import SYNC_LIMIT
from orchestrator.plan import Elastic
from orchestrator.plan.plan import choose_launcher
from orchestrator.preflight.level import Level
from orchestrator.runs.options import RunOptions


@dataclass(frozen=True)
class LaunchArguments:
    """What a launch is given, as typed; times in seconds, sizes in bytes (None: no limit)."""

    job: JobWords
    hosts: Choice
    name: str | None = None
    preflight: Literal["quick", "full", "off"] = "quick"
    detach: bool = False
    wait: bool = False
    terms: RunOptions = field(default_factory=RunOptions)
    sync_limit: int | None = SYNC_LIMIT
    restarts: int | None = None
    overwrite: bool = False
    elastic: str | None = None


@asynccontextmanager
async def launch_request(arguments: LaunchArguments) -> AsyncIterator[Request]:
    """Give the request that these mean; embedded nodes live as long as the context.

    Raises UsageError, and LaunchError where the folders of embedded nodes cannot be used.
    """
    if arguments.terms.stop_when_stalled and arguments.terms.stall is None:
        raise UsageError("--on-stall stop goes with --stall TIME")
    asked = read_job(arguments.job)
    job = replace(asked.job, elastic=_elastic(arguments.elastic, arguments.restarts))
    async with chosen(arguments.hosts, local_name(job)) as (inventory, transport):
        if asked.program is not None and arguments.preflight != "off":
            check_started_once(asked.program, choose_launcher(inventory.hosts, job))
        yield Request(
            inventory=inventory,
            job=job,
            source=asked.source,
            script=asked.script,
            name=arguments.name,
            preflight=None if arguments.preflight == "off" else Level(arguments.preflight),
            detach=arguments.detach,
            wait=arguments.wait,
            restarts=(arguments.restarts or 0) if job.elastic is None else 0,
            overwrite=arguments.overwrite,
            terms=arguments.terms,
            transport=transport,
            sync_limit=arguments.sync_limit,
        )


def _elastic(words: str | None, restarts: int | None) -> Elastic | None:
    """Return what `MIN:MAX` says. Raises UsageError."""
    if words is None:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,5}):([1-9][0-9]{0,5})", words, re.ASCII)
    if match is None or int(match[1]) > int(match[2]):
        raise UsageError(
            f"--elastic {words}: two numbers of nodes are expected, the smaller first",
            remedy="--elastic 2:4 for a job that goes on with 2 to 4 nodes",
        )
    elastic = Elastic(int(match[1]), int(match[2]))
    return elastic if restarts is None else replace(elastic, restarts=restarts)
