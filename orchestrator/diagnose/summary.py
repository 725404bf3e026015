"""Read the block in which torchrun reports how its ranks ended."""

from __future__ import annotations

import re
from datetime import datetime

from orchestrator.diagnose.model import Exit
from orchestrator.diagnose.values import valid_node, valid_time

OPENERS = ("Failures:", "Root Cause (first observed failure):")
MAX_LINES = 20_000

_FIELD = re.compile(r"  (?P<name>time|host|rank|exitcode) {1,8}: (?P<value>.{1,300})")
_EXITCODE = re.compile(r"(?P<code>-?\d{1,4}) \(pid: (?P<pid>\d{1,10})\)")


class Summary:
    """Reads lines from an opener on and returns how each rank ended; `last`: from the last opener on."""

    def __init__(self, last: bool) -> None:
        self.reading = True
        self._is_root_cause = last
        self._lines = 0
        self._fields: dict[str, str] = {}

    def feed(self, text: str) -> Exit | None:
        """Return the exit that this line completes."""
        self._lines += 1
        if text.startswith("====") or self._lines > MAX_LINES:
            self.reading = False
            return None
        if text == OPENERS[-1]:
            self._is_root_cause = True
        found = _FIELD.match(text)
        if not found:
            return None
        self._fields[found["name"]] = found["value"].strip()
        return self._exit() if found["name"] == "exitcode" else None

    def _exit(self) -> Exit | None:
        fields, self._fields = self._fields, {}
        ended = _EXITCODE.match(fields["exitcode"])
        rank = re.match(r"\d{1,7}", fields.get("rank", ""))
        if not ended or not rank:
            return None
        return Exit(
            rank=int(rank[0]),
            code=int(ended["code"]),
            node=valid_node(fields.get("host")),
            pid=int(ended["pid"]),
            time=_time(fields.get("time", "")),
            first=self._is_root_cause,
        )


def _time(text: str) -> float | None:
    """Return a time of the host's clock and zone, which cannot be compared with hosts in other zones."""
    try:
        return valid_time(datetime.strptime(text, "%Y-%m-%d_%H:%M:%S").timestamp())
    except (ValueError, OverflowError, OSError):  # a 13th month, a year that the platform lacks
        return None
