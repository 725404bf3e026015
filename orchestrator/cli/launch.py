"""`orch launch`: one script on every node."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import options
from orchestrator.cli.launch_options import LaunchOptions
from orchestrator.cli.script_words import misplaced_options, options_of, words_before_script


def launch(
    context: typer.Context,
    script: Annotated[
        str,
        typer.Argument(
            metavar="SCRIPT",
            help="The training script (with -m: the module), or any program.",
            show_default=False,
        ),
    ],
    hosts: options.Hosts,
    job: options.Job,
    terms: LaunchOptions,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ARGS", help="Passed to the script as they are.", show_default=False
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the commands for each node, ready to paste, and exit.",
            rich_help_panel="Start",
        ),
    ] = False,
    rank: Annotated[str | None, options.rank_option("Logs and output")] = None,
    timestamps: options.Timestamps = False,
    output: options.Output = "text",
) -> None:
    """Run SCRIPT on every node and stream its output back.

    \b
    Examples:
      orch launch train.py --epochs 10
      orch launch -i hosts.yaml --nodes 'gpu[0-3]' --launcher fabric train.py
      orch launch --local 2 --nproc 2 train.py
      orch launch --fetch 'checkpoints/' --fetch '*.csv' train.py
      orch launch --slurm '--partition gpu --nodes 4 --time 2:00:00' train.py
      orch launch --slurm '--nodes 4' --slurm-login me@login.example.org train.py
      orch launch --dry-run train.py
      RUN=$(orch launch --detach train.py) && orch logs -f "$RUN"

    Options of orch come before SCRIPT; what follows SCRIPT is passed to it. A TIME is in seconds, or as
    90s, 10m, 2h30m; a SIZE as 500M, 10G.

    Copies the current folder (or the script's, if it is elsewhere) to each node, starts the launcher there
    with the right node rank and main address, shows the output of all ranks, and exits with the job's exit
    code. Ctrl-C stops every rank on every node. Ctrl-\\ leaves the run running, as does closing the
    terminal: see `orch attach`, `orch logs`.
    """
    import sys
    from dataclasses import replace

    from orchestrator import events
    from orchestrator.api import launch as use_case
    from orchestrator.api.interrupts import interrupts_by
    from orchestrator.api.request import launch_request
    from orchestrator.api.selection import rank_set, ranks_of
    from orchestrator.api.values import seconds
    from orchestrator.cli.console import run_and_exit
    from orchestrator.errors import UsageError
    from orchestrator.ui.console import Console, View

    words, before = tuple(arguments or ()), words_before_script(context)
    warning = misplaced_options(script, words, before, options_of(context))
    # Once that much was freed at once, glibc keeps freed chunks of output for the next ones instead of
    # giving each back to the kernel page by page, which would take longer than all the rest.
    bytearray(16 << 20)
    view = View(output, rank_set(rank), timestamps, limit=seconds("--timeout", terms.timeout))
    console = Console(replace(view, keys=()) if terms.detach else view)
    if warning is not None:
        console(events.Warned(warning))

    def write(text: str) -> None:
        """Write to stdout, after all that the console has to show."""
        console.close()
        sys.stdout.buffer.write(text.encode(errors="surrogateescape"))
        sys.stdout.buffer.flush()

    async def launch_and_show() -> int:
        interrupts = interrupts_by(can_leave=True)
        if dry_run and terms.slurm is not None:
            raise UsageError(
                "--dry-run asks the nodes, and Slurm has not given any: leave out --slurm"
            )
        request = launch_request(
            script, words, options.given(hosts, job, terms),
            before=before, note=options.show_format, interrupts=interrupts,
        )  # fmt: skip
        async with request as opened:
            if dry_run:
                plan = await use_case.dry_run(opened, console, interrupts)
                ranks_of(plan, rank)
                write(use_case.commands(plan))
                return 0
            names: list[str] = []

            def hear(event: events.Event) -> None:
                if isinstance(event, events.Planned):
                    if not names:  # nothing has started yet
                        ranks_of(event.plan, rank)
                    names.append(event.plan.run)
                if not (terms.detach and isinstance(event, events.Output)):
                    console(event)

            verdict = await use_case.launch(opened, hear, interrupts)
            if terms.detach:  # for scripts: RUN=$(orch launch -d train.py)
                write(f"{names[0]}\n")
            if verdict is None:
                return 0 if interrupts.signal is None else 128 + interrupts.signal
            return verdict.exit_code

    run_and_exit(launch_and_show(), console)
