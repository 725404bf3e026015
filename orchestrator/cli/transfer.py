"""The screen of `orch fetch` and `orch push`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.errors import Interrupted
from orchestrator.ui.fetching import TransferScreen


@contextmanager
def transfer_screen(when_interrupted: str) -> Iterator[TransferScreen]:
    """Yield the screen of a transfer; an interrupt in the context exits with this text."""
    screen = TransferScreen()
    try:
        yield screen
    except Interrupted as error:
        screen.say(f"interrupted; {when_interrupted}", "yellow")
        sys.exit(error.exit_code)
    finally:
        screen.close()
