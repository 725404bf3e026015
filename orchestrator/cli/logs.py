"""`orch logs`: what a run printed, and prints."""

from __future__ import annotations

from functools import partial
from types import FrameType
from typing import Annotated

import typer

from orchestrator.cli import complete, options

_lines = partial(typer.Option, rich_help_panel="Which lines")
_display = partial(typer.Option, rich_help_panel="Logs and output")


def logs(
    run: Annotated[str | None, options.run_argument("latest; with -f the active one")] = None,
    follow: Annotated[
        bool, _display("--follow", "-f", help="Also show what comes, until the run ends.")
    ] = False,
    rank: Annotated[str | None, options.rank_option("Which lines")] = None,
    nodes: Annotated[
        str | None,
        _lines(
            metavar="SEL",
            help="Only these nodes, such as 'gpu[0-3],node7'.",
            autocompletion=complete.nodes_of_run,
        ),
    ] = None,
    stdout: Annotated[bool, _lines("--stdout", help="Standard output only.")] = False,
    stderr: Annotated[bool, _lines("--stderr", help="Standard error only.")] = False,
    tail: Annotated[
        int | None,
        _lines("--tail", "-n", metavar="N", min=0, help="Only the last N lines of the past."),
    ] = None,
    since: Annotated[
        str | None,
        _lines(
            metavar="T",
            help="Only from T on: 10m, 1h30m, or a local time such as 14:05 (with Z: UTC).",
        ),
    ] = None,
    grep: Annotated[
        str | None, _lines(metavar="RE", help="Only lines that match; --tail counts these.")
    ] = None,
    highlight: Annotated[
        str | None, _display(metavar="RE", help="Mark matches on a terminal.")
    ] = None,
    timestamps: options.Timestamps = False,
    fold: Annotated[
        bool | None,
        _display(
            "--fold/--no-fold",
            help="Show identical lines of many ranks once.  [default: on a terminal, of stderr]",
            show_default=False,
        ),
    ] = None,
    output: options.Output = "text",
) -> None:
    """Show what a run printed, in the order of time across its nodes.

    \b
    Examples:
      orch logs -f
      orch logs -f --tail 0 --rank 0
      orch logs train-lusab --rank 0,4-7 --tail 100
      orch logs --stderr --since 10m --grep 'Error|warn'
      orch logs --output json | jq -r 'select(.rank == 0) | .text'
      orch logs --rank 3 --stdout --output raw > rank-3.out
      orch logs --timestamps | lnav

    Works while the run is active, after its end, and without its nodes: lines come from the copies on
    this machine, which are first completed from the nodes that can be reached. The run is not affected;
    Ctrl-C only ends the command.

    With --rank, the output of launchers is left out. --output raw writes the stored bytes, those of the
    ranks' standard error to standard error. T may also be written as --timestamps shows it. Exits with 0,
    however the run ended.
    """
    import asyncio
    import signal

    from orchestrator.api.logs import pattern_of, seconds_since, selection_of, stored_output
    from orchestrator.api.refresh import refresh, shortcomings
    from orchestrator.api.selection import active_run, find_run
    from orchestrator.api.watch import ends_of, watch
    from orchestrator.ui.console import View
    from orchestrator.ui.event_printer import EventPrinter
    from orchestrator.ui.logs import LogPrinter, highlighter
    from orchestrator.util.process import resume_gc

    saved = active_run(run, "orch logs -f") if follow else find_run(run)
    selection = selection_of(
        saved, rank, nodes, None if stdout == stderr else "stdout" if stdout else "stderr"
    )
    start = seconds_since(since)
    pattern = pattern_of("--grep", grep)
    paint = highlighter(pattern_of("--highlight", highlight))
    view = View(output, timestamps=timestamps, fold=fold, paint=paint)
    last = tail if pattern is None else None  # of matching lines, the printer keeps the last
    resume_gc()
    printer = LogPrinter(view, saved.plan, pattern, tail)
    if follow and not saved.has_ended:
        signal.signal(signal.SIGINT, _interrupt)
        news = watch(saved, selection.__contains__, since=start, last=last)
        asyncio.run(printer.follow(news))
        return
    events = EventPrinter()
    saved = asyncio.run(refresh(saved, events))
    for piece in stored_output(saved, selection, start, last):
        printer.show(piece.stream, piece.data, piece.t, piece.hole)
    printer.close()
    for sentence in shortcomings(saved):
        events.say(sentence, "yellow")
    if follow or saved.state == "failed":
        for event in ends_of(saved):
            events(event)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End at once, even while a stopped terminal blocks a write; asyncio's own handler would wait."""
    raise KeyboardInterrupt
