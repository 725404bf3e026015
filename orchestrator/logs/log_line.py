"""Lines of output as values: who printed what, and when."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.logs.chunking import LineBuffer
from orchestrator.logs.sanitize import as_seen, sanitize
from orchestrator.logs.stream import Channel, Stream

_MAX_LAST_LINE = 8192  # bytes


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that a rank printed, or (`rank` None) a launcher.

    `time` is when it was complete, in seconds since the epoch by this machine's clock. `text` is the line
    as it was printed, without its newline; a byte that is not UTF-8 is written `\\xNN`. A line of more
    than 16 MiB is split into several. `str()` is safe to print: of control sequences only colour is left.
    """

    time: float
    rank: int | None
    local_rank: int | None
    node: str
    stream: Channel
    attempt: int
    text: str

    def __str__(self) -> str:
        who = "--" if self.rank is None else f"r{self.rank}"
        text = sanitize(self.text.encode("utf-8", "surrogateescape")).decode()
        return f"{who} {self.node} │ {text}"


class LineSplitter:
    """Makes lines of the chunks of many streams, which may be cut anywhere."""

    def __init__(self) -> None:
        self._buffer = LineBuffer()

    def feed(self, stream: Stream, chunk: bytes, t: float) -> list[LogLine]:
        """Return the lines that `chunk`, which arrived at `t`, completes."""
        parts = self._buffer.feed(stream, chunk, t)
        lines = [line for part in parts for line in part.removesuffix(b"\n").split(b"\n")]
        return [_line(stream, t, line) for line in lines]

    def close(self) -> list[LogLine]:
        """Return the unfinished lines."""
        return [_line(stream, t, text) for stream, text, t in self._buffer.close()]


def _line(stream: Stream, t: float, text: bytes) -> LogLine:
    return LogLine(
        t,
        stream.rank,
        stream.local_rank,
        stream.node,
        stream.channel,
        stream.attempt,
        text.removesuffix(b"\r").decode("utf-8", "backslashreplace"),
    )


def last_line(file: Path) -> str:
    """Return the last line of `file` that is not blank, as a terminal shows it, without colour.

    It may be unfinished. Empty if there is none in the last 8 KiB, or no file; a longer line is cut at
    its start, where a `…` is put.
    """
    try:
        with file.open("rb") as log:
            start = max(0, log.seek(0, 2) - _MAX_LAST_LINE)
            log.seek(start)
            data = log.read(_MAX_LAST_LINE)
    except FileNotFoundError:
        return ""
    lines = data.split(b"\n")
    for number in reversed(range(len(lines))):
        if text := as_seen(lines[number]).strip():
            is_cut = number == 0 and start > 0 and b"\r" not in lines[0].rstrip(b"\r")
            return f"…{text}" if is_cut else text
    return ""
