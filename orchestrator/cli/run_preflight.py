"""Turn the words of `orch preflight` into one request, and carry it out."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Literal

from orchestrator.check import CheckRequest, check
from orchestrator.cli.hosts import Choice, chosen
from orchestrator.cli.job import JobWords, read_job
from orchestrator.cli.signals import end_on_signals
from orchestrator.errors import LaunchError
from orchestrator.preflight.model import Level, Status
from orchestrator.preflight.report import Report
from orchestrator.runs.interrupts import Interrupts
from orchestrator.ui.console import Console, View
from orchestrator.ui.preflight import show


@dataclass(frozen=True)
class Arguments:
    """The words of the command line, as typed."""

    job: JobWords
    hosts: Choice
    level: Literal["quick", "full"]
    only: tuple[str, ...]
    output: Literal["text", "json"]


def run(arguments: Arguments) -> None:
    """Carry out `orch preflight`; exits with 0, 1 when a check failed, 125 when one was not made."""
    console = Console(View())
    began = time.monotonic()
    try:
        report = asyncio.run(_run(arguments, console))
    finally:
        console.close()
    show(report, time.monotonic() - began, arguments.output)
    if report.status is Status.FAIL:
        sys.exit(1)
    if report.status is Status.INCOMPLETE:
        sys.exit(LaunchError.exit_code)


async def _run(arguments: Arguments, console: Console) -> Report:
    interrupts = Interrupts()
    end_on_signals(interrupts)
    async with AsyncExitStack() as stack:
        request = await _request(arguments, stack)
        return await check(request, console, interrupts)


async def _request(arguments: Arguments, stack: AsyncExitStack) -> CheckRequest:
    asked = read_job(arguments.job)
    inventory, connect = await stack.enter_async_context(
        chosen(arguments.hosts, asked.job.workdir_name)
    )
    return CheckRequest(
        inventory=inventory,
        job=asked.job,
        source=asked.source,
        script=asked.script,
        level=Level(arguments.level),
        only=arguments.only,
        connect=connect,
    )
