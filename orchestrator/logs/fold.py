"""Show a line that many ranks print at about the same time once: `r[0-62] ×63 8 nodes │ text`.

Lines wait for a moment in one list, in an order that keeps that of every rank. A rank's next line
joins the first line after its own last shared one that reads the same; or it waits at the end of
the list, and is moved up when a later line of its rank joins one before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

from orchestrator.logs.lines import MAX_LINE, TextLines
from orchestrator.logs.prefix import timestamp
from orchestrator.logs.stream import Channel, Stream

WINDOW = 0.3  # seconds by the times of the lines: how much later than the first others may come
_HELD = 0.2  # seconds between two flushes that find a line: enough for the others to have come
MAX_LINES = 2000  # waiting lines,
MAX_BYTES = 1 << 20  # and their bytes
# More lines than this in one chunk are a flood: nothing that is worth to wait for others.
_FLOOD = 500
# So many waiting lines that read the same are looked at for one that may be joined.
_CANDIDATES = 16
_GONE = float("-inf")


class _Line:
    """A line that waits, or has `gone`; in a doubly linked list."""

    __slots__ = ("key", "next", "order", "previous", "serial", "sources", "t", "text")

    def __init__(self, key: bytes, text: bytes, source: _Source, t: float, serial: int) -> None:
        self.key = key
        self.text = text
        self.sources = [source]
        self.t = t
        self.serial = serial  # as it came
        self.order = float(serial)  # grows along the list; _GONE when it is no more in it
        self.previous: _Line | None = None
        self.next: _Line | None = None


class _Source:
    """One stream: its lines and how it stands in the list."""

    __slots__ = ("lines", "own", "prefix", "shared", "stream", "t", "tag")

    def __init__(self, stream: Stream, lines: TextLines, prefix: bytes) -> None:
        self.stream = stream
        self.lines = lines
        self.prefix = prefix
        # torchrun's workers print their tracebacks so (PyTorch 2.4 and later).
        self.tag = b"" if stream.rank is None else b"[rank%d]:" % stream.rank
        self.t = 0.0  # when its last chunk came
        self.shared: _Line | None = None  # its last line that others have too
        self.own: deque[_Line] = deque()  # its lines after that one


class FoldedLines:
    """Prefixes lines like TextLines, and folds those of the channels in `fold`.

    `folded_prefix` gives what stands before a line of several streams. Folded are lines that read
    the same but for PyTorch's `[rank7]:` before them, which is shown as `[rank*]:`, of `ranks`
    ranks, or of `launchers` launchers. Each stream's lines stay in their order.

    A line leaves when all have printed it; when a chunk comes whose time `t` is 0.3 s later, so
    give times by one clock; or soon, when `flush` is called several times a second while `waiting`.
    At most 2000 lines or 1 MiB wait, and a stream that floods is not held back.
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
        max_line: int = MAX_LINE,
        paint: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self._plain = TextLines(prefix, mode, timestamps=timestamps, max_line=max_line, paint=paint)
        self._fold = fold
        self._prefix = prefix
        self._folded_prefix = folded_prefix
        self._timestamps = timestamps
        self._paint = paint
        self._mode: Literal["terminal", "pipe"] = mode
        self._max_line = max_line
        self._members = {True: ranks, False: launchers}
        self._sources: dict[Stream, tuple[_Source, _Waiting]] = {}
        self._groups: dict[tuple[Channel, bool], _Waiting] = {}
        self._unfinished: dict[_Source, _Waiting] = {}  # whose lines `flush` may show more of

    def feed(self, stream: Stream, chunk: bytes, t: float = 0.0) -> bytes:
        """What can be shown after `chunk`, which came at `t` (seconds since the epoch)."""
        if stream.channel not in self._fold:
            return self._plain.feed(stream, chunk, t)
        source, group = self._source(stream)
        source.t = t
        lines = source.lines.feed(stream, chunk, t)
        if source.lines.waiting:
            self._unfinished[source] = group
        else:
            self._unfinished.pop(source, None)
        left = group.leave_before(t - WINDOW)
        if lines.count(b"\n") > _FLOOD:
            left += group.leave_all()
            return self._shown(left) + self._text(source.prefix, t, lines[:-1])
        for line in lines.split(b"\n")[:-1]:
            left += group.place(source, line, t)
        return self._shown(left)

    @property
    def waiting(self) -> bool:
        """Whether something is held back that a later `flush` may show."""
        return (
            bool(self._unfinished)
            or any(group.count for group in self._groups.values())
            or self._plain.waiting
        )

    def flush(self, now: float) -> bytes:
        """What has waited long enough, and of unfinished lines what TextLines shows.

        `now` is a monotonic clock in seconds.
        """
        shown = [self._plain.flush(now)]
        for group in self._groups.values():
            shown.append(self._shown(group.leave_held(now)))
        for source, group in list(self._unfinished.items()):
            lines = source.lines.flush(now)
            if not source.lines.waiting:
                del self._unfinished[source]
            if not lines:
                continue
            if group.holds(source):
                for line in lines.split(b"\n")[:-1]:
                    shown.append(self._shown(group.place(source, line, source.t)))
            else:
                shown.append(self._text(source.prefix, source.t, lines[:-1]))
        return b"".join(shown)

    def close(self) -> bytes:
        """Everything still held back, as if each stream had ended with a newline."""
        shown = [self._plain.close()]
        for source, group in self._sources.values():
            for line in source.lines.close().split(b"\n")[:-1]:
                shown.append(self._shown(group.place(source, line, source.t)))
        self._unfinished.clear()
        shown += [self._shown(group.leave_all()) for group in self._groups.values()]
        return b"".join(shown)

    def _source(self, stream: Stream) -> tuple[_Source, _Waiting]:
        known = self._sources.get(stream)
        if known is None:
            is_rank = stream.rank is not None
            key = (stream.channel, is_rank)
            if key not in self._groups:
                self._groups[key] = _Waiting(self._members[is_rank])
            lines = TextLines(lambda stream: b"", self._mode, max_line=self._max_line)
            source = _Source(stream, lines, self._prefix(stream))
            known = self._sources[stream] = (source, self._groups[key])
        return known

    def _shown(self, lines: list[_Line]) -> bytes:
        shown = []
        for line in lines:
            if len(line.sources) == 1:
                shown.append(self._text(line.sources[0].prefix, line.t, line.text))
            else:
                prefix = self._folded_prefix([source.stream for source in line.sources])
                shown.append(self._text(prefix, line.t, line.key))
        return b"".join(shown)

    def _text(self, prefix: bytes, t: float, lines: bytes) -> bytes:
        """`lines`, without their last newline, as they are shown."""
        if self._timestamps:
            prefix = timestamp(t) + b" " + prefix
        if self._paint is not None:
            lines = self._paint(lines)
        return prefix + lines.replace(b"\n", b"\n" + prefix) + b"\n"


class _Waiting:
    """The lines that wait, of streams that may have the same ones: all ranks', or all launchers'.

    Methods return the lines that leave, in the order to show them in. All lines of a stream that
    others have too come before its `own` ones, so those may move towards the beginning.
    """

    def __init__(self, members: int) -> None:
        self._members = members
        self._first: _Line | None = None
        self._last: _Line | None = None
        self._came: deque[_Line] = deque()  # as they came, some of them gone
        self._alike: dict[bytes, list[_Line]] = {}
        self._bytes = 0
        self._serial = 0
        self._flushes: deque[tuple[float, int]] = deque()  # when, and the last serial then
        self.count = 0

    def place(self, source: _Source, text: bytes, t: float) -> list[_Line]:
        """Add a line of a stream."""
        key = text
        if source.tag and text.startswith(source.tag):
            key = b"[rank*]:" + text[len(source.tag) :]
        line = self._joinable(source, key) if key in self._alike else None
        if line is None or not self._move_up(source, line):
            self._append(source, key, text, t)
        else:
            owner = line.sources[0]
            if owner.shared is None or owner.shared.order < line.order:
                while owner.own.popleft() is not line:
                    pass
                owner.shared = line  # from now on this one, and what is before it, stays
            line.sources.append(source)
            source.shared = line
            source.own.clear()
        left = []
        while self._first is not None and (
            len(self._first.sources) >= self._members
            or self.count > MAX_LINES
            or self._bytes > MAX_BYTES
        ):
            left.append(self._leave(self._first))
        return left

    def holds(self, source: _Source) -> bool:
        """Whether a line of the stream waits."""
        return bool(source.own) or (source.shared is not None and source.shared.order != _GONE)

    def leave_before(self, t: float) -> list[_Line]:
        """Let go what came before `t`."""
        left: list[_Line] = []
        while self._came and (self._came[0].order == _GONE or self._came[0].t < t):
            left += self._leave_through(self._came.popleft())
        return left

    def leave_held(self, now: float) -> list[_Line]:
        """Let go what a flush has found already that was long enough before `now`."""
        left: list[_Line] = []
        while self._flushes and now - self._flushes[0][0] >= _HELD:
            serial = self._flushes.popleft()[1]
            while self._came and self._came[0].serial <= serial:
                left += self._leave_through(self._came.popleft())
        self._flushes.append((now, self._serial))
        return left

    def leave_all(self) -> list[_Line]:
        """Let go everything."""
        self._came.clear()
        return self._leave_through(self._last) if self._last is not None else []

    def _joinable(self, source: _Source, key: bytes) -> _Line | None:
        """The first line after the stream's last shared one that it may join."""
        after = source.shared.order if source.shared is not None else _GONE
        if source.shared is not None and after != _GONE:
            following = source.shared.next
            if following is not None and following.key == key:
                return following if following.sources[0] is not source else None
        best = None
        for line in self._alike[key][:_CANDIDATES]:
            # What comes after its last shared line is its own, or it is none of its.
            if line.order <= after or line.sources[0] is source:
                continue
            if best is None or line.order < best.order:
                best = line
        return best

    def _move_up(self, source: _Source, line: _Line) -> bool:
        """Move the stream's own lines that stand after `line` before it; False: there is no room."""
        behind = [own for own in source.own if own.order > line.order]
        if not behind:
            return True
        before = line.previous.order if line.previous is not None else line.order - len(behind) - 1
        # Near the lower end: mostly the next ones that are moved come after these.
        step = (line.order - before) / (64 * len(behind))
        orders = [before + step * (number + 1) for number in range(len(behind))]
        if not all(a < b for a, b in zip([before, *orders], [*orders, line.order], strict=True)):
            return False
        for own, order in zip(behind, orders, strict=True):
            self._unlink(own)
            own.previous, own.next = line.previous, line
            if line.previous is None:
                self._first = own
            else:
                line.previous.next = own
            line.previous = own
            own.order = order
        return True

    def _append(self, source: _Source, key: bytes, text: bytes, t: float) -> None:
        self._serial += 1
        line = _Line(key, text, source, t, self._serial)
        line.previous = self._last
        if self._last is None:
            self._first = line
        else:
            self._last.next = line
        self._last = line
        self._came.append(line)
        self._alike.setdefault(key, []).append(line)
        self._bytes += len(text)
        self.count += 1
        source.own.append(line)

    def _leave_through(self, line: _Line) -> list[_Line]:
        """Let go all lines up to this one, if it still waits."""
        left: list[_Line] = []
        while line.order != _GONE and self._first is not None:
            left.append(self._leave(self._first))
        return left

    def _leave(self, line: _Line) -> _Line:
        self._unlink(line)
        line.order = _GONE
        alike = self._alike[line.key]
        alike.remove(line)
        if not alike:
            del self._alike[line.key]
        owner = line.sources[0]
        if owner.own and owner.own[0] is line:
            owner.own.popleft()
        self._bytes -= len(line.text)
        self.count -= 1
        return line

    def _unlink(self, line: _Line) -> None:
        if line.previous is None:
            self._first = line.next
        else:
            line.previous.next = line.next
        if line.next is None:
            self._last = line.previous
        else:
            line.next.previous = line.previous
        line.previous = line.next = None
