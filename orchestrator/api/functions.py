"""The public functions of the package: `launch`, `preflight`, `get_run`, `runs`, and for asynchronous
code `alaunch`, `apreflight`, `aget_run`, `aruns`.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Unpack

from orchestrator import events
from orchestrator.api import launch as use_case
from orchestrator.api.blocking import EventLoopThread, call
from orchestrator.api.job import FunctionCall
from orchestrator.api.preflight import PreflightOptions
from orchestrator.api.preflight import preflight as run_preflight
from orchestrator.api.request import FunctionOptions, LaunchOptions, launch_request
from orchestrator.api.run import AsyncRun, OnEvent, Run, ignore
from orchestrator.api.values import AnyPath
from orchestrator.control.interrupts import Interrupts
from orchestrator.logs.log_line import LineSplitter, LogLine
from orchestrator.preflight.report import Report
from orchestrator.runs.folder import runs_folder
from orchestrator.runs.registry import LATEST, all_runs, find_run
from orchestrator.util.frontend import frontend

OnLine = Callable[[LogLine], object]


def launch(
    script: AnyPath,
    *arguments: object,
    on_event: OnEvent | None = None,
    on_line: OnLine | None = None,
    display: bool | None = None,
    **options: Unpack[LaunchOptions],
) -> Run:
    """Run `script` with its `arguments` on every node, and return the run.

    The keywords are the options of `orch launch`, under the same names: `hosts` (an inventory file, a
    list of hosts as ssh takes them, or an `Inventory`; None: `$ORCH_INVENTORY`, else `hosts.yaml`),
    `local=2` for two nodes on this machine, `nodes`, `exclude`, `nproc`, `launcher`, `env={"K": "V"}`,
    `sync`, `preflight`, `name`, `timeout`, `restarts` and so on; `orch launch --help` lists them all.
    Times are numbers of seconds, or strings such as "10m".

    Returns when the run has ended. Its `result` shows how: a script that fails raises no exception here
    (see `Result.raise_for_status`). With `detach=True`, returns once the job runs, controlled in the
    background. Nothing is printed: `on_line` is called with each line that the ranks print, `on_event`
    with every event (see `orchestrator.events`), both in the caller's thread. In the cell of a notebook,
    the state of the run and the last lines of rank 0 are displayed and updated in place, with `display`
    None unless there is an `on_line`, with False never.

    Ctrl-C stops the run on every node, a second one kills it; KeyboardInterrupt is raised when it has
    ended. An exception in a callback ends only this call: the run continues on its nodes
    (`get_run().stop()` stops it). Raises TypeError for an unknown keyword, UsageError for an invalid
    value, LaunchError if the job could not be started; then nothing runs.
    """
    interrupts = Interrupts()
    with (
        shown_in_cell(on_event, wanted=on_line is None if display is None else display) as hear,
        EventLoopThread(listener(hear, on_line)) as loop,
    ):
        work = start(script, arguments, options, loop.emit, interrupts)
        folder = loop.wait(work, lambda: interrupts.send(signal.SIGINT))
    return Run(folder)


async def alaunch(
    script: AnyPath,
    *arguments: object,
    on_event: OnEvent | None = None,
    on_line: OnLine | None = None,
    **options: Unpack[LaunchOptions],
) -> AsyncRun:
    """Like `launch`, for asynchronous code; callbacks are called in the event loop.

    If cancelled before the job has started, nothing runs, and Slurm gets its nodes back; after that, the
    run continues on its nodes, and the next command or call that reads it starts a background controller.
    """
    emit = listener(on_event, on_line) or ignore
    return AsyncRun(await start(script, arguments, options, emit, Interrupts()))


async def start(
    script: AnyPath,
    arguments: Sequence[object],
    options: LaunchOptions | FunctionOptions,
    emit: events.Emit,
    interrupts: Interrupts,
    function: FunctionCall | None = None,
) -> Path:
    """Launch, and return the run's folder. With `function`, `script` is its name."""
    names: list[str] = []

    def hear(event: events.Event) -> None:
        if isinstance(event, events.Planned):
            names.append(event.plan.run)
        emit(event)

    async with launch_request(
        script, arguments, options, interrupts=interrupts, function=function
    ) as request:
        await use_case.launch(request, hear, interrupts)
    return runs_folder() / names[0]


@contextmanager
def shown_in_cell(on_event: OnEvent | None, *, wanted: bool) -> Iterator[OnEvent | None]:
    """Display the run in the cell of a notebook if `wanted`; yields what also calls `on_event`."""
    cell = frontend().cell_display() if wanted and "IPython" in sys.modules else None
    if cell is None:
        yield on_event
        return
    with cell as show:

        def hear(event: events.Event) -> None:
            show(event)
            if on_event is not None:
                on_event(event)

        yield hear


def listener(on_event: OnEvent | None, on_line: OnLine | None) -> OnEvent | None:
    """Return a function that calls both callbacks, with output as lines; None if there are none."""
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
    """Check all nodes for what a launch needs and return the findings; nothing is left on the nodes.

    `script` is checked too if it is given. The keywords are the options of `orch preflight`, under
    the same names (`hosts` as in `launch`): `level` defaults to "full", `only` selects checks by id.
    Raises TypeError and UsageError as `launch` does, ConnectError if no node can be reached,
    LaunchError if no plan can be made.
    """
    return call(lambda emit: run_preflight(script, arguments, options, emit), on_event)


async def apreflight(
    script: AnyPath | None = None,
    *arguments: object,
    on_event: OnEvent | None = None,
    **options: Unpack[PreflightOptions],
) -> Report:
    """Like `preflight`, for asynchronous code."""
    return await run_preflight(script, arguments, options, on_event or ignore)


def get_run(name: str = LATEST) -> Run:
    """Return a run that was launched on this machine, by any process.

    `name` is its full name, or a unique prefix of the name or of its last part; "latest" is the run that
    started last. Raises UsageError if there is no such run, or more than one.
    """
    return Run(find_run(name).folder)


async def aget_run(name: str = LATEST) -> AsyncRun:
    """Like `get_run`, for asynchronous code."""
    return AsyncRun(find_run(name).folder)


def runs() -> list[Run]:
    """Return every run of this machine, the latest first."""
    return [Run(saved.folder) for saved in all_runs()]


async def aruns() -> list[AsyncRun]:
    """Like `runs`, for asynchronous code."""
    return [AsyncRun(saved.folder) for saved in all_runs()]
