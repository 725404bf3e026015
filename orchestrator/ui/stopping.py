"""Say on stderr how a run is being stopped."""

from __future__ import annotations

from orchestrator import events
from orchestrator.ui.messages import ended_after
from orchestrator.ui.stderr import Stderr


def stop_printer(run: str) -> events.Emit:
    """Return what hears the events of a run that is being stopped, and prints them."""
    say = Stderr().line

    def hear(event: events.Event) -> None:
        match event:
            case events.Stopping():
                say(f"run {run}: stopping all ranks, {event.grace:g} s of grace")
            case events.NodeLost():
                say(f"run {run}: waiting for {event.node}: {event.cause}", "yellow")
            case events.Warned():
                say(f"warning: {event.message}", "yellow")
            case events.Ended():
                say(f"run {run} is over: {ended_after(event)}")

    return hear
