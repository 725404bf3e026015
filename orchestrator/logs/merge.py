"""Merge the lines of many streams into one list in which a line that several have is listed once.

The list keeps the order of every stream. A stream's next line joins the first line after the stream's
last shared one that reads the same. If there is none, it waits at the end of the list and is moved up
when a later line of its stream joins one before it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from operator import attrgetter

from orchestrator.logs.stream import Stream

MAX_LINES = 2000  # waiting lines,
MAX_BYTES = 1 << 20  # and their bytes
_JOIN_DELAY = 0.3  # seconds by the times of the lines within which the next stream must join,
_FLUSH_DELAY = 0.2  # and between two flushes with none that joined
_MAX_DELAY = 2.0  # seconds that a line waits while others keep joining it
_MAX_CANDIDATES = 16  # waiting lines that read the same and are tried
_GONE = float("-inf")


class Line:
    """A line that waits or has left."""

    __slots__ = ("joined", "joined_t", "key", "members", "order", "serial", "t", "text")

    def __init__(self, key: bytes, text: bytes, member: Member, t: float, serial: int) -> None:
        self.key = key  # the same for lines that read the same
        self.text = text  # as its first member has it
        self.members = [member]
        self.t = self.joined_t = t  # when its first and its latest member arrived,
        self.serial = self.joined = serial  # and their numbers in order of arrival
        self.order = float(serial)  # ascending along the list; _GONE once it has left


class Member:
    """The lines of one stream in the list."""

    __slots__ = ("own", "prefix", "shared", "stream")

    def __init__(self, stream: Stream, prefix: bytes) -> None:
        self.stream = stream
        self.prefix = prefix
        self.shared: Line | None = None  # its last line that others have, too
        self.own: deque[Line] = deque()  # its lines after that one

    @property
    def waits(self) -> bool:
        """Whether one of its lines is in the list."""
        return bool(self.own) or (self.shared is not None and self.shared.order != _GONE)


class Merge:
    """The list. Methods return the lines that leave it, in order.

    All lines that a stream shares come before its `own` ones, so those may move up. A line leaves at
    the head when all `members` have it, when none has joined for a while, or when there are too many.
    """

    def __init__(self, members: int) -> None:
        self._members = members
        self._lines: list[Line] = []  # by `order`
        self._came: deque[Line] = deque()  # by arrival; some have left
        self._same: dict[bytes, list[Line]] = {}
        self._bytes = 0
        self._serial = 0
        self._flushes: deque[tuple[float, int]] = deque()  # time and latest serial
        self._oldest = -1  # serial of the latest flush that has been dropped from them

    @property
    def count(self) -> int:
        """The number of lines that wait."""
        return len(self._lines)

    def place(self, member: Member, key: bytes, text: bytes, t: float) -> list[Line]:
        """Add a stream's next line, which reads like others with the same `key`."""
        self._serial += 1
        line = self._joinable(member, key) if key in self._same else None
        if line is None or not self._move_up(member, line):
            self._append(member, key, text, t)
        else:
            owner = line.members[0]
            if owner.shared is None or owner.shared.order < line.order:
                while owner.own.popleft() is not line:
                    pass
                owner.shared = line  # this line and those before it no longer move
            line.members.append(member)
            line.joined, line.joined_t = self._serial, max(line.joined_t, t)
            member.shared = line
            member.own.clear()
        left = []
        while self._lines and (
            len(self._lines[0].members) >= self._members
            or self.count > MAX_LINES
            or self._bytes > MAX_BYTES
        ):
            left.append(self._leave_first())
        return left

    def leave_at(self, t: float) -> list[Line]:
        """Remove what is due when another line arrives at `t`, by the times of the lines."""
        return self._leave_while(
            lambda line: line.joined_t < t - _JOIN_DELAY or line.t < t - _MAX_DELAY
        )

    def leave_held(self, now: float) -> list[Line]:
        """Remove what is due by the flushes that have found it, including this one at `now`."""
        while self._flushes and now - self._flushes[0][0] >= _MAX_DELAY:
            self._oldest = self._flushes.popleft()[1]
        quiet = oldest = self._oldest
        for then, serial in self._flushes:
            if now - then >= _FLUSH_DELAY:
                quiet = serial
        self._flushes.append((now, self._serial))
        return self._leave_while(lambda line: line.joined <= quiet or line.serial <= oldest)

    def _leave_while(self, is_due: Callable[[Line], bool]) -> list[Line]:
        """Remove lines by arrival, up to the first that is not due: the others wait behind it."""
        left: list[Line] = []
        while self._came and (self._came[0].order == _GONE or is_due(self._came[0])):
            left += self._leave_through(self._came.popleft())
        return left

    def leave_all(self) -> list[Line]:
        """Remove everything."""
        self._came.clear()
        return self._leave_through(self._lines[-1]) if self._lines else []

    def _joinable(self, member: Member, key: bytes) -> Line | None:
        """Return the first line after the stream's last shared one that it may join."""
        after = member.shared.order if member.shared is not None else _GONE
        if member.shared is not None and after != _GONE:
            following = self._lines[self._index(member.shared) + 1 :][:1]
            if following and following[0].key == key:
                return following[0] if following[0].members[0] is not member else None
        best = None
        for line in self._same[key][:_MAX_CANDIDATES]:
            # After its last shared line, the stream is in its own lines only.
            if line.order <= after or line.members[0] is member:
                continue
            if best is None or line.order < best.order:
                best = line
        return best

    def _move_up(self, member: Member, line: Line) -> bool:
        """Move the stream's own lines after `line` before it; return False if there is no room."""
        behind = [own for own in member.own if own.order > line.order]
        if not behind:
            return True
        index = self._index(line)
        before = self._lines[index - 1].order if index else line.order - len(behind) - 1
        # Near the lower end, since the next lines to be moved usually come after these.
        step = (line.order - before) / (64 * len(behind))
        orders = [before + step * (number + 1) for number in range(len(behind))]
        if not all(a < b for a, b in pairwise([before, *orders, line.order])):
            return False
        for own, order in zip(behind, orders, strict=True):
            del self._lines[self._index(own)]
            own.order = order
        self._lines[index:index] = behind
        return True

    def _append(self, member: Member, key: bytes, text: bytes, t: float) -> None:
        line = Line(key, text, member, t, self._serial)
        self._lines.append(line)
        self._came.append(line)
        self._same.setdefault(key, []).append(line)
        self._bytes += len(text)
        member.own.append(line)

    def _leave_through(self, line: Line) -> list[Line]:
        """Remove all lines up to this one if it still waits."""
        left: list[Line] = []
        while line.order != _GONE:
            left.append(self._leave_first())
        return left

    def _leave_first(self) -> Line:
        line = self._lines.pop(0)
        line.order = _GONE
        same = self._same[line.key]
        same.remove(line)
        if not same:
            del self._same[line.key]
        owner = line.members[0]
        if owner.own and owner.own[0] is line:
            owner.own.popleft()
        self._bytes -= len(line.text)
        return line

    def _index(self, line: Line) -> int:
        return bisect_left(self._lines, line.order, key=attrgetter("order"))
