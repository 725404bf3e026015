"""`orch logs`: what a run printed, and prints."""

from __future__ import annotations

from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options

if TYPE_CHECKING:
    from orchestrator.logs.selection import Selection
    from orchestrator.logs.stream import Channel
    from orchestrator.runs.saved_run import SavedRun
    from orchestrator.ui.logs import LogPrinter

_ROUNDING = 1e-6  # seconds by which a time of a node may be off once clocks are compared


def logs(
    run: Annotated[str | None, options.run_argument("latest; with -f the active one")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until the run ends.")
    ] = False,
    rank: options.Rank = None,
    nodes: options.NodesOfRun = None,
    stdout: Annotated[bool, typer.Option("--stdout", help="Standard output only.")] = False,
    stderr: Annotated[bool, typer.Option("--stderr", help="Standard error only.")] = False,
    tail: Annotated[
        int | None,
        typer.Option("--tail", "-n", metavar="N", min=0, help="Only the last N lines of the past."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="T",
            help="Only from then on: 10m, 1h30m, or a local time (UTC with Z), as --timestamps shows it: "
            "14:05, 2026-01-31T09:30Z.",
        ),
    ] = None,
    grep: Annotated[
        str | None, typer.Option(metavar="RE", help="Only lines that match (before --tail counts).")
    ] = None,
    highlight: Annotated[
        str | None, typer.Option(metavar="RE", help="Mark on a terminal what matches.")
    ] = None,
    timestamps: options.Timestamps = False,
    fold: Annotated[
        bool | None,
        typer.Option(
            "--fold/--no-fold",
            help="Show lines that many ranks print alike once.  [default: those of stderr, on a "
            "terminal]",
            show_default=False,
        ),
    ] = None,
    output: options.Output = "text",
) -> None:
    """Show what a run printed, in the order of time across its nodes.

    While the run goes on, when it has ended, and when its nodes are gone: lines come from the copies on
    this machine, and what these lack is fetched first, as far as the nodes can be reached. The run is
    never touched; Ctrl-C ends the looking only.

    With --rank, what the launchers say is left out. --output raw writes the stored bytes, those of the
    ranks' standard error to standard error. Exits with 0, however the run ended.

    \b
    Examples:
      orch logs -f
      orch logs -f --tail 0 --rank 0
      orch logs train-lusab --rank 0,4-7 --tail 100
      orch logs --stderr --since 10m --grep 'Error|warn'
      orch logs --output json | jq -r 'select(.rank == 0) | .text'
      orch logs --rank 3 --stdout --output raw > rank-3.out
      orch logs --timestamps | lnav
    """
    import asyncio
    import signal

    from orchestrator.api.refresh import refresh, shortcomings
    from orchestrator.api.selection import nodes_of, ranks_of
    from orchestrator.api.values import value_of
    from orchestrator.api.watch import ends_of, watch
    from orchestrator.cli.selection import active_run
    from orchestrator.errors import UsageError
    from orchestrator.logs.filter import painter, parse_pattern
    from orchestrator.logs.search import SlowPattern
    from orchestrator.logs.selection import Selection
    from orchestrator.runs.registry import find_run
    from orchestrator.ui.console import View
    from orchestrator.ui.event_printer import EventPrinter
    from orchestrator.ui.logs import LogPrinter
    from orchestrator.ui.terminal import wants_colour
    from orchestrator.util.process import resume_gc

    saved = active_run(run, "orch logs -f") if follow else find_run(run)
    channel: Channel | None = None
    if stdout != stderr:
        channel = "stdout" if stdout else "stderr"
    wanted = Selection(
        ranks_of(saved.plan, rank), nodes_of(saved.plan, nodes, saved.former), channel
    )
    start = value_of("--since", since, _time_of)
    pattern = value_of("--grep", grep, parse_pattern)
    marked = value_of("--highlight", highlight, parse_pattern)
    paint = painter(marked) if marked and wants_colour(1) else None
    view = View(output, timestamps=timestamps, fold=fold, paint=paint)
    # The last lines that match are others than those of the last lines that do.
    last = tail if pattern is None else None
    resume_gc()
    printer = LogPrinter(view, saved.plan, pattern, tail)
    try:
        if follow and not saved.has_ended:
            signal.signal(signal.SIGINT, _interrupt)
            asyncio.run(printer.follow(watch(saved, wanted.__contains__, since=start, last=last)))
            return
        tell = EventPrinter()
        saved = asyncio.run(refresh(saved, tell))
        _replay(saved, wanted, printer, start, last)
    except SlowPattern as error:
        raise UsageError(f"--grep or --highlight: {error}") from None
    for sentence in shortcomings(saved):
        tell.say(sentence, "yellow")
    if follow or saved.state == "failed":
        for event in ends_of(saved):
            tell(event)


def _replay(
    saved: SavedRun, wanted: Selection, printer: LogPrinter, since: float | None, last: int | None
) -> None:
    """Show what this machine has of the run's output."""
    from contextlib import closing

    from orchestrator.logs.replay import Replay
    from orchestrator.runs.registry import unless_pruned

    skews = saved.settings.skews
    replay = Replay(saved.logs, skews, wanted.__contains__, since=since, last=last)
    with closing(replay), unless_pruned(saved):
        for pieces in (replay.pieces(), replay.rest() if saved.has_ended else ()):
            for piece in pieces:
                printer.show(piece.stream, piece.data, piece.t, piece.hole)
    printer.close()


def _time_of(text: str) -> float:
    """Return the time that was typed, so that a line with this very timestamp is not before it."""
    import time

    from orchestrator.logs.timespec import parse_time

    return parse_time(text, time.time()) - _ROUNDING


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End now, also while a terminal that is stopped is waited for; asyncio's own would not."""
    raise KeyboardInterrupt
