"""`orch control`: control a run in the background; orch itself starts it, from `orch attach` and others."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import complete


def control(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="The run's name.", autocompletion=complete.runs)
    ],
    spec_on_stdin: Annotated[
        bool,
        typer.Option("--spec-on-stdin", help="Read how to restart the run from standard input."),
    ] = False,
) -> None:
    """Control RUN until it has ended, without a console."""
    import asyncio
    import signal
    import sys
    from contextlib import suppress

    from orchestrator.api.controller import control_run, controller_log, read_spec
    from orchestrator.api.interrupts import interrupts_by
    from orchestrator.api.selection import find_run
    from orchestrator.ui.log import log_of_controller

    saved = find_run(run)
    # Only orch hands it over: the standard input of a user, or of a script, may never end.
    spec = read_spec(sys.stdin.buffer) if spec_on_stdin else None
    with suppress(OSError):  # a full disk must not prevent control of a run
        log_of_controller(controller_log(saved))

    async def run_until_interrupted() -> None:
        # SIGTERM ends this process alone: the machine may be shutting down.
        await control_run(saved, spec, interrupts=interrupts_by(signal.SIGINT))

    asyncio.run(run_until_interrupted())
