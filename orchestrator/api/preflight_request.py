"""From what a preflight is given, on the command line or in Python, to the request that it means.

Not beside a launch's: importing the checks takes longer than a launch has.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from orchestrator.api.hosts import Choice, chosen
from orchestrator.api.job import JobWords, local_name, read_job
from orchestrator.api.preflight import PreflightRequest
from orchestrator.preflight.level import Level


@dataclass(frozen=True)
class PreflightArguments:
    """What a preflight is given, as typed; `only` are ids of checks (none: those of `level`)."""

    job: JobWords
    hosts: Choice
    level: Literal["quick", "full"] = "full"
    only: tuple[str, ...] = ()


@asynccontextmanager
async def preflight_request(arguments: PreflightArguments) -> AsyncIterator[PreflightRequest]:
    """Give the request that these mean, as `launch_request` does."""
    asked = read_job(arguments.job)
    async with chosen(arguments.hosts, local_name(asked.job)) as (inventory, transport):
        yield PreflightRequest(
            inventory=inventory,
            job=asked.job,
            source=asked.source,
            script=asked.script,
            sends=not arguments.job.no_sync,
            level=Level(arguments.level),
            only=arguments.only,
            transport=transport,
        )
