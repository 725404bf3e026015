"""`orch launch`: one script on every node."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator.api import values
from orchestrator.cli import options
from orchestrator.cli.script_words import misplaced_options, options_of, words_before_script

if TYPE_CHECKING:
    from orchestrator.api.request import LaunchArguments
    from orchestrator.ui.console import Console


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
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ARGS", help="Handed to the script as they are.", show_default=False
        ),
    ] = None,
    inventory: options.Inventory = None,
    local: options.Local = None,
    nodes: options.Nodes = None,
    exclude: options.Exclude = None,
    nproc: options.Nproc = None,
    launcher: options.Launcher = None,
    launcher_arg: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ARG",
            help="One more argument for the launcher, such as --precision=bf16-mixed. Repeatable.",
        ),
    ] = None,
    module: options.Module = False,
    no_python: options.NoPython = False,
    main_address: options.MainAddress = None,
    main_port: options.MainPort = None,
    env: options.Env = None,
    env_file: options.EnvFile = None,
    sync: options.Sync = None,
    no_sync: options.NoSync = False,
    sync_limit: Annotated[
        int | None,
        typer.Option(
            metavar="SIZE",
            parser=values.size("--sync-limit"),
            help="Do not start when the folder to copy is larger; what is largest in it is listed. "
            "0: no limit.  [default: 1G]",
        ),
    ] = None,
    workdir: options.Workdir = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Copy files even where those on a node have changed since orch placed them, or were never "
            "placed by it.",
        ),
    ] = False,
    preflight: Annotated[
        Literal["quick", "full", "off"],
        typer.Option(
            help="What is tried before the start: quick takes a moment; full also runs a small "
            "collective. What fails stops the launch (see: orch preflight)."
        ),
    ] = "quick",
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Begin the run's name with NAME.  [default: the script's]"
        ),
    ] = None,
    detach: Annotated[
        bool,
        typer.Option("--detach", "-d", help="Return once it runs; print its name."),
    ] = False,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait",
            help="Start once no other run of yours uses the nodes, in the order of the launches that wait.",
        ),
    ] = False,
    grace: Annotated[
        float,
        typer.Option(
            metavar="TIME",
            parser=values.seconds("--grace", 0.0),
            help="Between SIGTERM and SIGKILL when the run is stopped.",
        ),
    ] = 3.0,
    linger: Annotated[
        float,
        typer.Option(
            metavar="TIME",
            parser=values.seconds("--linger", 0.0),
            help="How long processes that ranks leave running (an upload, say) may go on once all ranks "
            "of their node have exited with 0. A stop ends them at once, and so does 0.",
        ),
    ] = 60.0,
    node_timeout: Annotated[
        float,
        typer.Option(
            metavar="TIME",
            parser=values.seconds("--node-timeout", 0.0),
            help="Stop the others when neither orch nor they could reach a node for so long. 0: never.",
        ),
    ] = 60.0,
    lease: Annotated[
        float | None,
        typer.Option(
            metavar="TIME",
            parser=values.seconds("--lease", 1.0),
            help="Each node ends the run when it has not heard of orch for so long.  [default: never]",
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="TIME",
            parser=values.seconds("--timeout", 0.0),
            help="Stop the run so long after its start, with exit code 124.  [default: never]",
        ),
    ] = None,
    on_failure: Annotated[
        Literal["stop", "continue"],
        typer.Option(help="What the other ranks do when one fails."),
    ] = "stop",
    stall: Annotated[
        float | None,
        typer.Option(
            metavar="TIME",
            parser=values.seconds("--stall", 1.0),
            help="Say what the ranks wait for when nothing has moved for so long: no output, no work, "
            "everybody at the same place. Longer than the longest step.  [default: never]",
        ),
    ] = None,
    on_stall: Annotated[
        Literal["show", "stop"],
        typer.Option(help="What becomes of a run that has stalled."),
    ] = "show",
    log_limit: Annotated[
        int | None,
        typer.Option(
            metavar="SIZE",
            parser=values.size("--log-limit"),
            help="Copy no more of the run's logs to this machine once they take up so much of its disk; "
            "the rest stays on the nodes. 0: no limit.  [default: 50G]",
        ),
    ] = None,
    restarts: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            max=1000,
            help="Start all of it again when it fails, up to N times; a spare host takes the place of one "
            "that is lost. ORCH_ATTEMPT tells the script.  [default: 0; with --elastic 3]",
        ),
    ] = None,
    elastic: Annotated[
        str | None,
        typer.Option(
            metavar="MIN:MAX",
            help="Go on without nodes that are lost while MIN are left: torchrun itself starts the ranks "
            "of the others again, in a smaller world. MAX is how many there may be.",
        ),
    ] = None,
    fetch: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="When an attempt has ended, however, bring the files that match and that it has written "
            "on main's node into the folder ./RUN (see: orch fetch). Repeatable.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print what would run on each node, ready to paste, and exit."
        ),
    ] = False,
    rank: options.Rank = None,
    timestamps: options.Timestamps = False,
    output: options.Output = "text",
    transport: options.Transport = "ssh",
    accept_new: options.AcceptNew = False,
    connect_timeout: options.ConnectTimeout = 10.0,
) -> None:
    """Run SCRIPT on every node and stream its output back.

    Copies the current folder (or the script's, if it lies elsewhere) to each node, starts the launcher
    there with the right node rank and main address, shows every rank's lines, and exits with the job's own
    exit code. Ctrl-C stops every rank on every node. Ctrl-\\ leaves the run going, as does closing the
    terminal: see `orch attach`, `orch logs`. A TIME is in seconds, or as 90s, 10m, 2h30m.

    Options of orch stand before SCRIPT; what follows SCRIPT is the script's.

    \b
    Examples:
      orch launch train.py --epochs 10
      orch launch -i hosts.yaml --nodes 'gpu[0-3]' --launcher fabric train.py
      orch launch --local 2 --nproc 2 train.py
      orch launch --fetch 'checkpoints/' --fetch '*.csv' train.py
      orch launch --dry-run train.py
      RUN=$(orch launch --detach train.py) && orch logs -f "$RUN"
    """
    from orchestrator.api.hosts import Choice
    from orchestrator.api.job import JobWords
    from orchestrator.api.request import LaunchArguments
    from orchestrator.api.selection import rank_set
    from orchestrator.cli.finish import run_and_exit
    from orchestrator.events import Warned
    from orchestrator.pipeline.outgoing import SYNC_LIMIT
    from orchestrator.runs.options import LOG_LIMIT, RunOptions
    from orchestrator.sync.patterns import check_patterns
    from orchestrator.ui.console import Console, View

    patterns = tuple(fetch or ())
    check_patterns(patterns)
    words = JobWords(
        script=script,
        module=module,
        no_python=no_python,
        launcher=launcher,
        nproc=nproc,
        main_address=main_address,
        main_port=main_port,
        env=tuple(env or ()),
        env_file=env_file,
        sync=sync,
        no_sync=no_sync,
        workdir=workdir,
        arguments=tuple(arguments or ()),
        launcher_arguments=tuple(launcher_arg or ()),
        before=words_before_script(context),
    )
    terms = RunOptions(
        grace=grace,
        linger=linger,
        node_timeout=node_timeout,
        lease=lease,
        timeout=timeout,
        keep_going=on_failure == "continue",
        stall=stall,
        stop_when_stalled=on_stall == "stop",
        log_limit=LOG_LIMIT if log_limit is None else log_limit or None,
        fetch=patterns,
        fetch_to=Path.cwd() if patterns else None,
    )
    asked = LaunchArguments(
        job=words,
        hosts=Choice(
            inventory,
            local,
            nodes,
            exclude,
            accept_new,
            connect_timeout,
            transport,
            options.say_format,
        ),
        preflight=preflight,
        name=name,
        detach=detach,
        wait=wait,
        terms=terms,
        sync_limit=SYNC_LIMIT if sync_limit is None else sync_limit or None,
        restarts=restarts,
        overwrite=overwrite,
        elastic=elastic,
    )
    warning = misplaced_options(words, options_of(context))
    # Once so much was freed at once, glibc keeps freed chunks of output for the next ones instead of
    # giving each back to the kernel page by page; that would take longer than all the rest.
    bytearray(16 << 20)
    view = View(output, rank_set(rank), timestamps, limit=timeout)
    console = Console(replace(view, keys=()) if detach else view)
    if warning is not None:
        console(Warned(warning))
    run_and_exit(_launch(asked, console, rank, dry_run=dry_run), console)


async def _launch(
    asked: LaunchArguments, console: Console, rank: str | None, *, dry_run: bool
) -> int:
    """Launch the job (on a dry run: print its commands); return the exit code."""
    from orchestrator import events
    from orchestrator.api.launch import dry_run as plan_for
    from orchestrator.api.launch import launch
    from orchestrator.api.request import launch_request
    from orchestrator.api.selection import ranks_of
    from orchestrator.cli.signals import listen_to_signals
    from orchestrator.control.interrupts import Interrupts
    from orchestrator.plan import paste

    interrupts = Interrupts()
    listen_to_signals(interrupts)
    async with launch_request(asked) as request:
        if dry_run:
            plan = await plan_for(request, console, interrupts)
            ranks_of(plan, rank)
            _print("".join(f"{line}\n" for line in paste.shell_commands(plan)), console)
            return 0
        names: list[str] = []

        def hear(event: events.Event) -> None:
            if isinstance(event, events.Planned):
                if not names:  # nothing is started yet
                    ranks_of(event.plan, rank)
                names.append(event.plan.run)
            if not (request.detach and isinstance(event, events.Output)):
                console(event)

        verdict = await launch(request, hear, interrupts)
        if request.detach:  # for scripts: RUN=$(orch launch -d train.py)
            _print(f"{names[0]}\n", console)
        if verdict is None:
            return 0 if interrupts.signal is None else 128 + interrupts.signal
        return verdict.exit_code


def _print(text: str, console: Console) -> None:
    """Write to stdout what a command was asked for, after all that the console has to show."""
    console.close()
    sys.stdout.buffer.write(text.encode(errors="surrogateescape"))
    sys.stdout.buffer.flush()
