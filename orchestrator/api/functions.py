"""The functions that the package offers: `launch`, `preflight`, `get_run`, `runs`, and for asynchronous
code `alaunch`, `apreflight`, `aget_run`, `aruns`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Unpack

from orchestrator import events
from orchestrator.api import launch as use_case
from orchestrator.api import preflight as preflight_use_case
from orchestrator.api.blocking import EventLoopThread, call
from orchestrator.api.keywords import (
    AnyPath,
    LaunchOptions,
    PreflightOptions,
    launch_arguments,
    preflight_arguments,
)
from orchestrator.api.preflight_request import PreflightArguments, preflight_request
from orchestrator.api.request import LaunchArguments, launch_request
from orchestrator.api.run import AsyncRun, OnEvent, Run, ignore
from orchestrator.control.interrupts import Interrupts
from orchestrator.logs.log_line import LineSplitter, LogLine
from orchestrator.preflight.report import Report
from orchestrator.runs.folder import runs_folder
from orchestrator.runs.registry import LATEST, all_runs, find_run

OnLine = Callable[[LogLine], object]


def launch(
    script: AnyPath,
    *arguments: object,
    on_event: OnEvent | None = None,
    on_line: OnLine | None = None,
    **options: Unpack[LaunchOptions],
) -> Run:
    """Run `script` with its `arguments` on every node, and return the run.

    The keywords are the options of `orch launch`, under the same names: `hosts` (an inventory file, a
    list of hosts as ssh takes them, or an `Inventory`; None: `$ORCH_INVENTORY`, else `hosts.yaml`),
    `local=2` for two nodes on this machine, `nodes`, `exclude`, `nproc`, `launcher`, `env={"K": "V"}`,
    `sync`, `preflight`, `name`, `timeout`, `restarts` and so on; `orch launch --help` has all of them.
    Times are seconds or texts such as "10m".

    Returns when the run has ended (its `result` says how: a script that fails is no exception here, see
    `Result.raise_for_status`), with `detach=True` once it runs, controlled in the background. Nothing is
    printed: `on_line` is called with each line that the ranks print, `on_event` with everything that
    happens (see `orchestrator.events`), both in the caller's thread.

    Ctrl-C stops the run on every node, a second one kills it; KeyboardInterrupt is raised when it has
    ended. An exception of a callback ends this call alone: the run goes on on its nodes
    (`get_run().stop()` ends it). Raises TypeError for a keyword that is no option, UsageError for a value
    that makes no sense, LaunchError when the job could not be started; then nothing runs.
    """
    given = launch_arguments(script, arguments, options)
    interrupts = Interrupts()
    with EventLoopThread(_listener(on_event, on_line)) as loop:
        folder = loop.wait(
            _launch(given, loop.emit, interrupts), lambda: interrupts.send(signal.SIGINT)
        )
    return Run(folder)


async def alaunch(
    script: AnyPath,
    *arguments: object,
    on_event: OnEvent | None = None,
    on_line: OnLine | None = None,
    **options: Unpack[LaunchOptions],
) -> AsyncRun:
    """Do what `launch` does, for asynchronous code; callbacks are called in the event loop.

    Cancelled before the job has started, nothing runs; after that, the run goes on on its nodes, and
    whoever looks at it next has it controlled in the background.
    """
    given = launch_arguments(script, arguments, options)
    emit = _listener(on_event, on_line) or ignore
    return AsyncRun(await _launch(given, emit, Interrupts()))


async def _launch(given: LaunchArguments, emit: events.Emit, interrupts: Interrupts) -> Path:
    """Launch, and return the run's folder."""
    names: list[str] = []

    def hear(event: events.Event) -> None:
        if isinstance(event, events.Planned):
            names.append(event.plan.run)
        emit(event)

    async with launch_request(given) as request:
        await use_case.launch(request, hear, interrupts)
    return runs_folder() / names[0]


def _listener(on_event: OnEvent | None, on_line: OnLine | None) -> OnEvent | None:
    """Return who hears all events, and makes lines of the output; None where nobody listens."""
    if on_line is None:
        return on_event
    splitter = LineSplitter()

    def hear(event: events.Event) -> None:
        if isinstance(event, events.Output):
            for line in splitter.feed(event.stream, event.data, event.time):
                on_line(line)
        elif isinstance(event, events.Ended | events.Detached):
            for line in splitter.close():
                on_line(line)
        if on_event is not None:
            on_event(event)

    return hear


def preflight(
    script: AnyPath | None = None,
    *arguments: object,
    on_event: OnEvent | None = None,
    **options: Unpack[PreflightOptions],
) -> Report:
    """Try on all nodes what a launch would need, and return what was found; nothing is left there.

    `script`, if it is given, is looked into too. The keywords are the options of `orch preflight`, under
    the same names (`hosts` as in `launch`): `level` is "full" unless given, `only` are ids of checks.
    Raises TypeError and UsageError as `launch` does, ConnectError when no node can be reached,
    LaunchError when no plan can be made.
    """
    given = preflight_arguments(script, arguments, options)
    return call(lambda emit: _preflight(given, emit), on_event)


async def apreflight(
    script: AnyPath | None = None,
    *arguments: object,
    on_event: OnEvent | None = None,
    **options: Unpack[PreflightOptions],
) -> Report:
    """Do what `preflight` does, for asynchronous code."""
    return await _preflight(preflight_arguments(script, arguments, options), on_event or ignore)


async def _preflight(given: PreflightArguments, emit: events.Emit) -> Report:
    async with preflight_request(given) as request:
        return await preflight_use_case.preflight(request, emit)


def get_run(name: str = LATEST) -> Run:
    """Return the run called `name`, launched on this machine by whatever process.

    The whole name, or a beginning of it or of its last part that no other has; "latest" is the one that
    began last. Raises UsageError when there is no such run, or more than one.
    """
    return Run(find_run(name).folder)


async def aget_run(name: str = LATEST) -> AsyncRun:
    """Do what `get_run` does, for asynchronous code."""
    return AsyncRun(find_run(name).folder)


def runs() -> list[Run]:
    """Return every run that this machine knows of, the latest first."""
    return [Run(saved.folder) for saved in all_runs()]


async def aruns() -> list[AsyncRun]:
    """Do what `runs` does, for asynchronous code."""
    return [AsyncRun(saved.folder) for saved in all_runs()]
