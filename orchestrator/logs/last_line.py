"""The last line of a log file: what a stream said last, for a status that fits in a table."""

from __future__ import annotations

from pathlib import Path

from orchestrator.logs.harmless import as_seen

_READ = 8192


def last_line(file: Path) -> str:
    """The last line in `file` that is not blank, as a terminal shows it, without colour.

    It may be unfinished. Empty when there is none in the last 8 KiB, or no file; of a longer line its
    end is returned.
    """
    try:
        with file.open("rb") as log:
            log.seek(max(0, log.seek(0, 2) - _READ))
            data = log.read(_READ)
    except FileNotFoundError:
        return ""
    for line in reversed(data.split(b"\n")):
        if text := as_seen(line).strip():
            return text
    return ""
