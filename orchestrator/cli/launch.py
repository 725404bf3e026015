"""`orch launch`: one script on every node."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from orchestrator.cli import options, values


def launch(
    script: Annotated[
        str,
        typer.Argument(
            metavar="SCRIPT", help="The training script (with -m: the module).", show_default=False
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
    main_address: options.MainAddress = None,
    main_port: options.MainPort = None,
    env: options.Env = None,
    env_file: options.EnvFile = None,
    sync: options.Sync = None,
    no_sync: options.NoSync = False,
    preflight: Annotated[
        Literal["quick", "full", "off"],
        typer.Option(
            help="What is tried before the start: quick takes a moment; full also runs a small "
            "collective. What fails stops the launch (see: orch preflight)."
        ),
    ] = "quick",
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Begin the run's name with NAME.")
    ] = None,
    detach: Annotated[
        bool,
        typer.Option("--detach", "-d", help="Return once it runs; print its name."),
    ] = False,
    grace: Annotated[
        float,
        typer.Option(
            metavar="TIME",
            parser=values.seconds("--grace", 0.0),
            help="Between SIGTERM and SIGKILL when the run is stopped.",
        ),
    ] = 3.0,
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
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print what would run on each node, ready to paste, and exit."
        ),
    ] = False,
    rank: options.Rank = None,
    timestamps: options.Timestamps = False,
    output: options.Output = "text",
    accept_new: options.AcceptNew = False,
    connect_timeout: options.ConnectTimeout = 10.0,
) -> None:
    """Run SCRIPT on every node and stream its output back.

    Copies the script's folder to each node, starts the launcher there with the right node rank and main
    address, shows every rank's lines, and exits with the job's own exit code. Ctrl-C stops every rank on
    every node. Ctrl-\\ leaves the run going, as does closing the terminal: see `orch attach`, `orch logs`.
    A TIME is in seconds, or as 90s, 10m, 2h30m.

    \b
    Examples:
      orch launch train.py --epochs 10
      orch launch -i hosts.yaml --nodes 'gpu[0-3]' --launcher fabric train.py
      orch launch --local 2 --nproc 2 train.py
      orch launch --dry-run train.py
      RUN=$(orch launch --detach train.py) && orch logs -f "$RUN"
    """
    from orchestrator.cli import run_launch
    from orchestrator.cli.hosts import Choice
    from orchestrator.cli.job import JobWords
    from orchestrator.runs.settings import Terms

    run_launch.run(
        run_launch.Arguments(
            job=JobWords(
                script=script,
                module=module,
                launcher=launcher,
                nproc=nproc,
                main_address=main_address,
                main_port=main_port,
                env=tuple(env or ()),
                env_file=env_file,
                sync=sync,
                no_sync=no_sync,
                arguments=tuple(arguments or ()),
                launcher_arguments=tuple(launcher_arg or ()),
            ),
            hosts=Choice(inventory, local, nodes, exclude, accept_new, connect_timeout),
            preflight=preflight,
            name=name,
            detach=detach,
            terms=Terms(
                grace=grace,
                node_timeout=node_timeout,
                lease=lease,
                timeout=timeout,
                keep_going=on_failure == "continue",
                stall=stall,
                stop_when_stalled=on_stall == "stop",
            ),
            restarts=restarts,
            elastic=elastic,
            dry_run=dry_run,
            rank=rank,
            timestamps=timestamps,
            output=output,
        )
    )
