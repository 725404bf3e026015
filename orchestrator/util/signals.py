"""What a signal is called."""

from __future__ import annotations

from signal import Signals


def signal_name(number: int) -> str:
    """Return `SIGKILL` for 9, and `signal 99` for one that has no name here."""
    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"
