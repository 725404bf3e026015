"""The end of what a rank or a launcher printed, from the copies of its logs."""

from __future__ import annotations

import os
import re
from collections import deque
from pathlib import Path

from orchestrator.logs.sanitize import as_seen
from orchestrator.logs.stream import Channel, Stream
from orchestrator.remote.reports import RankReport

_MAX_BYTES = 1 << 18  # read from the end of each stream
_MAX_LINES = 10
MAX_LINE = 400
"""Maximum characters of a line to show."""
_TORCH = re.compile(r"\[rank\d+\]: ?")  # torch prints it before the lines of a traceback
_MARKERS = " ^~"  # under the code in a traceback since Python 3.11


class RankOutput:
    """The output of a rank of `node`, or of its launcher (`rank` is None), below the folder `logs`."""

    channels: tuple[Channel, ...] = ("stderr", "stdout")

    def __init__(self, logs: Path, node: str, rank: RankReport | None) -> None:
        attempt, number = _last_attempt(logs / node), None
        if rank is not None:
            attempt, number = rank.attempt, rank.rank
        self.files = {
            channel: logs / node / Stream(node, attempt, number, None, channel).path
            for channel in self.channels
        }

    @property
    def longest(self) -> int:
        """The size of the longer file, in bytes."""
        return max(file.stat().st_size if file.exists() else 0 for file in self.files.values())

    def tail(self, channel: Channel) -> bytes:
        """Return the end of a channel; empty if nothing was printed or it could not be stored here."""
        try:
            with self.files[channel].open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _MAX_BYTES))
                return log.read(_MAX_BYTES)
        except OSError:
            return b""

    def last_lines(self, workdir: str) -> tuple[Channel, tuple[str, ...]]:
        """Return the more useful channel and its last lines: stderr if it has relevant lines.

        Blank lines and noise are left out. Lines look as on a terminal, but without colours and with
        paths relative to `workdir`.
        """
        from orchestrator.diagnose import is_noise
        from orchestrator.diagnose.site_signatures import site_signatures

        site = site_signatures().signatures
        for channel in self.channels:
            lines: deque[str] = deque(maxlen=_MAX_LINES)
            for line in self.tail(channel).split(b"\n"):
                text = _TORCH.sub("", as_seen(line)).replace(f"{workdir}/", "").rstrip()
                if text.strip(_MARKERS) and not is_noise(text, site):
                    lines.append(text if len(text) <= MAX_LINE else f"{text[: MAX_LINE - 1]}…")
            if lines:
                return channel, tuple(lines)
        return "stderr", ()


def _last_attempt(folder: Path) -> int:
    """Return the last attempt with a log of the launcher in the folder of a node."""
    numbers = (path.parent.name[8:] for path in folder.glob("attempt-*/launcher.*"))
    return max((int(number) for number in numbers if number.isdecimal()), default=0)
