"""Show a line that many ranks print at about the same time once: `r[0-62] ×63 8 nodes │ text`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from orchestrator.logs.lines import TextLines
from orchestrator.logs.merge import Line, Member, Merge
from orchestrator.logs.stream import Channel, Stream

# More lines than this in one chunk are a flood that does not wait for other ranks.
_MAX_FOLDED_LINES = 500

# The start of a line of glog and of PyTorch (C++ and Python): level and day, time, perhaps a thread.
_GLOG = re.compile(
    rb"(\[?[IWEF]\d{4}) \d\d:\d\d:\d\d\.\d{1,9} +(?:\d{1,20} +)?(?=[^\s:\]]{1,200}:\d+\])"
)


class _Source(Member):
    """One stream, with its unfinished line and its lines in the merge."""

    __slots__ = ("lines", "merge", "t", "tag")

    def __init__(self, stream: Stream, prefix: bytes, lines: TextLines, merge: Merge) -> None:
        super().__init__(stream, prefix)
        self.lines = lines
        self.merge = merge
        # How PyTorch 2.4 and later tags the tracebacks of torchrun's workers.
        self.tag = b"" if stream.rank is None else b"[rank%d]:" % stream.rank
        self.t = 0.0  # when its latest chunk arrived

    def place(self, lines: bytes) -> list[Line]:
        """Add its next lines to the merge, and return those that leave it now."""
        left: list[Line] = []
        for text in lines.split(b"\n")[:-1]:
            left += self.merge.place(self, self._key(text), text, self.t)
        return left

    def _key(self, text: bytes) -> bytes:
        """Return the line without what differs by stream: the rank, and the time and thread of glog."""
        tag, rest = b"", text
        if self.tag and text.startswith(self.tag):
            tag, rest = b"[rank*]:", text[len(self.tag) :]
        return tag + _GLOG.sub(rb"\1 * ", rest, count=1) if _GLOG.match(rest) else tag + rest


class FoldedLines:
    """Prefixes lines like TextLines, and folds those of the channels in `fold`.

    `folded_prefix` gives what precedes a line of several streams. Lines fold if they read the same except
    for PyTorch's `[rank7]:` before them, which is shown as `[rank*]:`, and the time and thread of glog
    (`[W1121 * socket.cpp:207]`). There are `ranks` ranks and `launchers` launchers. The lines of each
    stream keep their order.

    A line is shown when all have printed it; when a chunk arrives 0.3 s after the last rank that printed
    it (or 2 s after the first), by times `t` of one clock; or by `flush`, called several times a second
    while `waiting`. At most 2000 lines or 1 MiB wait, and a stream that floods is not held back.
    """

    def __init__(
        self,
        prefix: Callable[[Stream], bytes],
        folded_prefix: Callable[[Sequence[Stream]], bytes],
        mode: Literal["terminal", "pipe"],
        *,
        ranks: int,
        launchers: int,
        fold: frozenset[Channel] = frozenset({"stderr"}),
        timestamps: bool = False,
        max_line: int | None = None,
        paint: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self._plain = TextLines(prefix, mode, timestamps=timestamps, max_line=max_line, paint=paint)
        self._fold = fold
        self._prefix = prefix
        self._folded_prefix = folded_prefix
        self._unprefixed = partial(TextLines, lambda stream: b"", mode, max_line=max_line)
        self._members = {True: ranks, False: launchers}
        self._sources: dict[Stream, _Source] = {}
        self._merges: dict[tuple[Channel, bool], Merge] = {}
        self._unfinished: set[_Source] = set()  # `flush` may show more of their lines

    def feed(self, stream: Stream, chunk: bytes, t: float = 0.0) -> bytes:
        """Return what can be shown after `chunk`, which arrived at `t` (seconds since the epoch)."""
        if stream.channel not in self._fold:
            return self._plain.feed(stream, chunk, t)
        source = self._sources.get(stream) or self._source(stream)
        source.t = t
        lines = source.lines.feed(stream, chunk, t)
        if source.lines.waiting:
            self._unfinished.add(source)
        else:
            self._unfinished.discard(source)
        left = source.merge.leave_at(t)
        if lines.count(b"\n") > _MAX_FOLDED_LINES:
            left += source.merge.leave_all()
            return self._shown(left) + self._plain.prefixed(source.prefix, t, lines[:-1])
        return self._shown(left + source.place(lines))

    @property
    def waiting(self) -> bool:
        """Whether something is held back that a later `flush` may show."""
        return (
            bool(self._unfinished)
            or any(merge.count for merge in self._merges.values())
            or self._plain.waiting
        )

    def flush(self, now: float) -> bytes:
        """Return what has waited long enough, and what TextLines shows of unfinished lines.

        `now` is a monotonic clock in seconds.
        """
        shown = [self._plain.flush(now)]
        for merge in self._merges.values():
            shown.append(self._shown(merge.leave_held(now)))
        for source in [source for source in self._sources.values() if source in self._unfinished]:
            lines = source.lines.flush(now)
            if not source.lines.waiting:
                self._unfinished.discard(source)
            if source.waits:
                shown.append(self._shown(source.place(lines)))
            elif lines:
                shown.append(self._plain.prefixed(source.prefix, source.t, lines[:-1]))
        return b"".join(shown)

    def close(self) -> bytes:
        """Return everything still held back, as if each stream ended with a newline."""
        shown = [self._plain.close()]
        for source in self._sources.values():
            shown.append(self._shown(source.place(source.lines.close())))
        self._unfinished.clear()
        shown += [self._shown(merge.leave_all()) for merge in self._merges.values()]
        return b"".join(shown)

    def _source(self, stream: Stream) -> _Source:
        is_rank = stream.rank is not None
        merge = self._merges.setdefault((stream.channel, is_rank), Merge(self._members[is_rank]))
        source = _Source(stream, self._prefix(stream), self._unprefixed(), merge)
        self._sources[stream] = source
        return source

    def _shown(self, lines: list[Line]) -> bytes:
        shown = []
        for line in lines:
            if len(line.members) == 1:
                shown.append(self._plain.prefixed(line.members[0].prefix, line.t, line.text))
            else:
                prefix = self._folded_prefix([member.stream for member in line.members])
                shown.append(self._plain.prefixed(prefix, line.t, line.key))
        return b"".join(shown)
