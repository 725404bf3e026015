"""What orch itself says, on stderr: `orch: ...`."""

from __future__ import annotations

from orchestrator.logs.harmless import harmless
from orchestrator.ui.terminal import wants_colour

_SGR = {"red": "31", "green": "32", "yellow": "33"}


def message(text: str, colour: str | None = None) -> bytes:
    """Return a line (or a few) of orch's own, for stderr; coloured on a terminal of who likes that."""
    said = harmless(text.encode(errors="replace")).decode()  # a node's own words may be in it
    if colour is not None and wants_colour(2):
        said = f"\x1b[{_SGR[colour]}m{said}\x1b[0m"
    return f"orch: {said}\n".encode()
