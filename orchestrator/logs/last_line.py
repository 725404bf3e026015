"""The last line of a log file: what a stream said last, for a status that fits in a table."""

from __future__ import annotations

from pathlib import Path

from orchestrator.logs.sanitize import as_seen

_READ = 8192


def last_line(file: Path) -> str:
    """The last line in `file` that is not blank, as a terminal shows it, without colour.

    It may be unfinished. Empty when there is none in the last 8 KiB, or no file; of a longer line its
    end is returned, behind a `…`.
    """
    try:
        with file.open("rb") as log:
            start = max(0, log.seek(0, 2) - _READ)
            log.seek(start)
            data = log.read(_READ)
    except FileNotFoundError:
        return ""
    lines = data.split(b"\n")
    for number in reversed(range(len(lines))):
        if text := as_seen(lines[number]).strip():
            is_cut = number == 0 and start > 0 and b"\r" not in lines[0].rstrip(b"\r")
            return f"…{text}" if is_cut else text
    return ""
