"""`orch control`: control a run in the background. For orch itself: `orch attach` and the like start it."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import complete


def control(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="The run's name.", autocompletion=complete.runs),
    ],
    spec_on_stdin: Annotated[
        bool,
        typer.Option(
            "--spec-on-stdin", help="How to start it again comes on standard input, from orch."
        ),
    ] = False,
) -> None:
    """Control RUN until it has ended, without a console."""
    import asyncio
    import signal
    import sys
    from contextlib import suppress

    from orchestrator.api.controller import control_run
    from orchestrator.control.interrupts import Interrupts
    from orchestrator.plan.masking import mask_in_logs
    from orchestrator.runs.background import read_launch_spec
    from orchestrator.runs.folder import CONTROLLER_LOG
    from orchestrator.runs.registry import find_run
    from orchestrator.ui.log import log_of_controller

    saved = find_run(run)
    # Only orch hands it over: the standard input of a person, or of a script, may never end.
    spec = read_launch_spec(sys.stdin.buffer) if spec_on_stdin else None
    if spec is not None:
        mask_in_logs(spec.job.environment, spec.job.secrets)
        for host in (*spec.hosts, *spec.spares):
            mask_in_logs(host.env)
    with suppress(OSError):  # a full disk keeps nobody from controlling a run
        log_of_controller(saved.folder / CONTROLLER_LOG)

    async def run_until_interrupted() -> None:
        # As of a launch at a terminal. SIGTERM is for this process alone: the machine shuts down, say.
        interrupts = Interrupts()
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupts.send, signal.SIGINT)
        await control_run(saved, spec, interrupts=interrupts)

    asyncio.run(run_until_interrupted())
