"""Print events on stderr, for commands without a console."""

from __future__ import annotations

from orchestrator import events
from orchestrator.inventory.ranges import fold
from orchestrator.ui import fetching, messages, verdict
from orchestrator.ui.stderr import Stderr


class EventPrinter:
    """Prints the events that the user should know about, as it is called with them."""

    def __init__(self) -> None:
        self._stderr = Stderr()
        self._explained: events.Explained | None = None
        self._files: events.FilesWritten | None = None

    def __call__(self, event: events.Event) -> None:
        match event:
            case events.PhaseBegan(phase="fetch"):
                self.say(f"waiting for {fold(event.nodes)}")
            case events.PhaseBegan(phase="prune"):
                self.say(f"asking {fold(event.nodes)}")
            case events.Stopping():
                self.say(f"{messages.stop_reason(event)}: stopping all ranks", "yellow")
            case events.Fetched():
                self.say(fetching.fetched(event))
            case events.FilesWritten():
                self._files = event  # printed with the end
            case events.Explained():
                self._explained = event  # printed with the end
            case events.Ended():
                self._stderr.write(verdict.ended(event, self._explained, self._files))
            case _ if (notice := messages.notice(event)) is not None:
                self.say(*notice)

    def say(self, text: str, colour: str | None = None) -> None:
        """Print a message of one line or a few."""
        self._stderr.line(text, colour)
