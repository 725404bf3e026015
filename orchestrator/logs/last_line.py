"""The last line of a log file, for a table of status."""

from __future__ import annotations

from pathlib import Path

from orchestrator.logs.sanitize import as_seen

_MAX_BYTES = 8192


def last_line(file: Path) -> str:
    """Return the last line of `file` that is not blank, as a terminal shows it, without colour.

    It may be unfinished. Empty if there is none in the last 8 KiB, or no file; a longer line is cut at
    its start, where a `…` is put.
    """
    try:
        with file.open("rb") as log:
            start = max(0, log.seek(0, 2) - _MAX_BYTES)
            log.seek(start)
            data = log.read(_MAX_BYTES)
    except FileNotFoundError:
        return ""
    lines = data.split(b"\n")
    for number in reversed(range(len(lines))):
        if text := as_seen(lines[number]).strip():
            is_cut = number == 0 and start > 0 and b"\r" not in lines[0].rstrip(b"\r")
            return f"…{text}" if is_cut else text
    return ""
