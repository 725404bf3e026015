"""Lines of output as values: who printed what, and when."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.logs.chunking import LONGEST, cut
from orchestrator.logs.sanitize import sanitize
from orchestrator.logs.stream import Channel, Stream


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that a rank printed, or (`rank` None) a launcher.

    `time` is when it was complete, in seconds since the epoch by this machine's clock. `text` is the line
    as it was printed, without its newline; a byte that is not UTF-8 is written `\\xNN`. A line of over
    16 MiB comes in several. `str()` is safe to print: of control
    sequences only colour is left.
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


@dataclass
class LineSplitter:
    """Makes lines of the chunks of many streams, which may be cut anywhere."""

    _partials: dict[Stream, bytes] = field(default_factory=dict)
    _times: dict[Stream, float] = field(default_factory=dict)

    def feed(self, stream: Stream, chunk: bytes, t: float) -> list[LogLine]:
        """Return the lines that `chunk`, which came at `t`, completes."""
        *pieces, last = cut(self._partials.pop(stream, b"") + chunk, LONGEST)
        lines = [line for piece in pieces for line in piece.split(b"\n")]
        *whole, rest = last.split(b"\n")
        if rest:
            self._partials[stream] = rest
            self._times[stream] = t
        return [_line(stream, t, line) for line in (*lines, *whole)]

    def close(self) -> list[LogLine]:
        """Return what has come of unfinished lines."""
        rest, self._partials = self._partials, {}
        return [_line(stream, self._times[stream], text) for stream, text in rest.items()]


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
