"""Names of signals."""

from __future__ import annotations

from signal import Signals


def signal_name(number: int) -> str:
    """Return `SIGKILL` for 9, and `signal 99` for a number without a name on this system."""
    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"
