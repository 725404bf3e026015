"""Say on stderr what goes on, for commands that have no console."""

from __future__ import annotations

from orchestrator import events
from orchestrator.inventory.ranges import fold
from orchestrator.ui import fetching, messages, verdict
from orchestrator.ui.stderr import Stderr


class EventPrinter:
    """Hears events, and says those that a person should know of."""

    def __init__(self) -> None:
        self._stderr = Stderr()
        self._explained: events.Explained | None = None
        self._files: events.FilesWritten | None = None

    def __call__(self, event: events.Event) -> None:
        match event:
            case events.Warned():
                self.say(f"warning: {event.message}", "yellow")
            case events.Uneven():
                self.say(f"warning: {messages.uneven(event)}", "yellow")
            case events.PhaseBegan(phase="fetch"):
                self.say(f"waiting for {fold(event.nodes)}")
            case events.PhaseBegan(phase="prune"):
                self.say(f"asking {fold(event.nodes)}")
            case events.Stalled():
                self.say(messages.stalled(event), "yellow")
            case events.Resumed():
                self.say(messages.resumed(event), "green")
            case events.NodeLost():
                self.say(messages.node_lost(event), "yellow")
            case events.NodeLeft():
                self.say(messages.node_left(event), "yellow")
            case events.NodeBack():
                self.say(messages.node_back(event), "green")
            case events.Stopping():
                self.say(f"{messages.stop_reason(event)}: all ranks are being stopped", "yellow")
            case events.Restarting():
                self.say(messages.restarting(event), "yellow")
            case events.Fetched():
                self.say(fetching.fetched(event))
            case events.FilesWritten():
                self._files = event  # said with the end
            case events.Explained():
                self._explained = event  # said with the end
            case events.Ended():
                self._stderr.write(verdict.ended(event, self._explained, self._files))

    def say(self, text: str, colour: str | None = None) -> None:
        """Say one line (or a few)."""
        self._stderr.line(text, colour)
