"""Say on stderr what goes on, for commands that have no console."""

from __future__ import annotations

from orchestrator import events
from orchestrator.inventory.ranges import fold
from orchestrator.ui import verdict, words
from orchestrator.ui.message import Stderr


class Teller:
    """Hears events, and says those that a person should know of."""

    def __init__(self) -> None:
        self._stderr = Stderr()
        self._explained: events.Explained | None = None

    def __call__(self, event: events.Event) -> None:
        match event:
            case events.Warned():
                self.say(f"warning: {event.message}", "yellow")
            case events.PhaseBegan(phase="fetch"):
                self.say(f"waiting for {fold(event.nodes)}")
            case events.PhaseBegan(phase="prune"):
                self.say(f"asking {fold(event.nodes)}")
            case events.Stalled():
                self.say(words.stalled(event), "yellow")
            case events.Resumed():
                self.say(words.resumed(event), "green")
            case events.NodeLost():
                self.say(words.node_lost(event), "yellow")
            case events.NodeLeft():
                self.say(words.node_left(event), "yellow")
            case events.NodeBack():
                self.say(words.node_back(event), "green")
            case events.Stopping():
                self.say(f"{words.stop_reason(event)}: all ranks are being stopped", "yellow")
            case events.Restarting():
                self.say(words.restarting(event), "yellow")
            case events.Explained():
                self._explained = event  # said with the end
            case events.Ended():
                self._stderr.write(verdict.ended(event, self._explained))

    def say(self, text: str, colour: str | None = None) -> None:
        """Say one line (or a few)."""
        self._stderr.line(text, colour)
