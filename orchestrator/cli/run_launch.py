"""Turn the words of `orch launch` into one request, and carry it out."""

from __future__ import annotations

import re
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Literal

from orchestrator import events
from orchestrator.cli.finish import run_and_exit
from orchestrator.cli.hosts import Choice, chosen, embedded_root
from orchestrator.cli.job import JobWords, read_job
from orchestrator.cli.selection import rank_set
from orchestrator.cli.signals import listen_to_signals
from orchestrator.errors import UsageError
from orchestrator.launch import Request, dry_run, launch
from orchestrator.plan import Elastic, Job, paste
from orchestrator.preflight.level import Level
from orchestrator.runs.interrupts import Interrupts
from orchestrator.runs.settings import Embedded, Terms
from orchestrator.ui.console import Console, View


@dataclass(frozen=True)
class Arguments:
    """The words of the command line, as typed."""

    job: JobWords
    hosts: Choice
    name: str | None
    preflight: Literal["quick", "full", "off"]
    detach: bool
    terms: Terms
    restarts: int | None
    elastic: str | None
    dry_run: bool
    rank: str | None
    timestamps: bool
    output: Literal["text", "json", "raw"]


def run(arguments: Arguments) -> None:
    """Carry out `orch launch`; exits with the job's exit code."""
    if arguments.terms.stop_when_stalled and arguments.terms.stall is None:
        raise UsageError("--on-stall stop goes with --stall TIME")
    # Once so much was freed at once, glibc keeps freed chunks of output for the next ones instead of
    # giving each back to the kernel page by page; that would take longer than all the rest.
    bytearray(16 << 20)
    view = View(
        arguments.output,
        rank_set(arguments.rank),
        arguments.timestamps,
        limit=arguments.terms.timeout,
    )
    console = Console(replace(view, keys=()) if arguments.detach else view)
    run_and_exit(_run(arguments, console), console)


async def _run(arguments: Arguments, console: Console) -> int:
    interrupts = Interrupts()
    listen_to_signals(interrupts)
    async with AsyncExitStack() as stack:
        request = await _request(arguments, stack)
        if arguments.dry_run:
            plan = await dry_run(request, console, interrupts)
            _print("".join(f"{line}\n" for line in paste.lines(plan)), console)
            return 0
        names: list[str] = []

        def hear(event: events.Event) -> None:
            if isinstance(event, events.Planned):
                names.append(event.plan.run)
            if not (arguments.detach and isinstance(event, events.Output)):
                console(event)

        verdict = await launch(request, hear, interrupts)
        if arguments.detach:  # for scripts: RUN=$(orch launch -d train.py)
            _print(f"{names[0]}\n", console)
        if verdict is None:
            return 0 if interrupts.signal is None else 128 + interrupts.signal
        return verdict.exit_code


def _print(text: str, console: Console) -> None:
    """Write to stdout what a command was asked for, after all that the console has to say."""
    console.close()
    sys.stdout.buffer.write(text.encode(errors="surrogateescape"))
    sys.stdout.buffer.flush()


async def _request(arguments: Arguments, stack: AsyncExitStack) -> Request:
    asked = read_job(arguments.job)
    job = replace(asked.job, elastic=_elastic(arguments.elastic, arguments.restarts))
    inventory, connect = await stack.enter_async_context(chosen(arguments.hosts, job.workdir_name))
    return Request(
        inventory=inventory,
        job=job,
        source=asked.source,
        script=asked.script,
        name=arguments.name,
        preflight=None if arguments.preflight == "off" else Level(arguments.preflight),
        detach=arguments.detach,
        restarts=(arguments.restarts or 0) if job.elastic is None else 0,
        terms=arguments.terms,
        connect=connect,
        embedded=_embedded(arguments.hosts, job),
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


def _embedded(hosts: Choice, job: Job) -> Embedded | None:
    if hosts.local is None:
        return None
    return Embedded(hosts.local, embedded_root(job.workdir_name))
