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
from orchestrator.cli.script import inside, script_and_source, workdir_name
from orchestrator.cli.signals import end_on_signals
from orchestrator.cli.values import number_or_auto
from orchestrator.errors import LaunchError
from orchestrator.plan import Job
from orchestrator.preflight.model import Level, Status
from orchestrator.preflight.report import Report
from orchestrator.runs.interrupts import Interrupts
from orchestrator.ui.console import Console, View
from orchestrator.ui.preflight import show


@dataclass(frozen=True)
class Arguments:
    """The words of the command line, as typed."""

    script: str | None
    hosts: Choice
    level: Literal["quick", "full"]
    only: tuple[str, ...]
    launcher: str | None
    nproc: str | None
    main_address: str | None
    main_port: str | None
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
    script = source = None
    if arguments.script is not None:
        script, source = script_and_source(arguments.script, module=False, sync=None, no_sync=False)
    job = Job(
        script=inside(script, source) if script and source else "",
        launcher=arguments.launcher,
        devices=number_or_auto("--nproc", arguments.nproc, 1024),
        main_address=arguments.main_address,
        main_port=number_or_auto("--main-port", arguments.main_port, 65535),
        workdir_name=workdir_name(source),
    )
    inventory, connect = await stack.enter_async_context(chosen(arguments.hosts, job.workdir_name))
    return CheckRequest(
        inventory=inventory,
        job=job,
        source=source,
        script=script,
        level=Level(arguments.level),
        only=arguments.only,
        connect=connect,
    )
