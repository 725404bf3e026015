"""The last line of a log file: what a stream said last, for a status that fits in a table."""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator.logs.harmless import harmless

_READ = 8192
_SGR = re.compile(r"\x1b\[[0-9;:]*m")


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
        shown = line.rstrip(b"\r").rpartition(b"\r")[2]
        if text := _SGR.sub("", harmless(shown).decode()).strip():
            return text
    return ""
