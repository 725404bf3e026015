"""What orch itself says, on stderr: `orch: ...`."""

from __future__ import annotations

import sys

from orchestrator.logs.harmless import harmless
from orchestrator.process import silence
from orchestrator.ui.terminal import wants_colour

_SGR = {"red": "31", "green": "32", "yellow": "33"}


def message(text: str, colour: str | None = None) -> bytes:
    """Return a line (or a few) of orch's own, for stderr; coloured on a terminal of who likes that."""
    said = harmless(text.encode(errors="replace")).decode()  # a node's own words may be in it
    if colour is not None and wants_colour(2):
        said = f"\x1b[{_SGR[colour]}m{said}\x1b[0m"
    return f"orch: {said}\n".encode()


class Stderr:
    """Lines about the doing, on stderr, for commands that have no console, or none any more."""

    def __init__(self) -> None:
        self._heard = True

    def line(self, text: str, colour: str | None = None) -> None:
        """Write one line (or a few), at once. Nobody reading it any more is no reason to fail."""
        self.write(message(text, colour))

    def write(self, said: bytes) -> None:
        """Write whole lines as they are."""
        if self._heard:
            try:
                sys.stderr.write(said.decode())
                sys.stderr.flush()
            except OSError:
                self._heard = False
                silence(2)
