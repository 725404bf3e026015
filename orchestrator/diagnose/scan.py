"""Read one source after another, in bounded memory, and add what is found to `Findings`.

Almost all lines of a log have one of a few shapes and differ only in their numbers. The distinct shapes of
each block are searched, at C speed, for texts that every pattern needs; only lines with one are matched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from orchestrator.diagnose import stage
from orchestrator.diagnose.findings import Findings, Group, match
from orchestrator.diagnose.label import MAX_TEXT, Label, Line, parse_line
from orchestrator.diagnose.launcher_exits import MARKERS, SUMMARY_OPENERS, Summary, exits_in
from orchestrator.diagnose.leads import MAX_LEADS, leads
from orchestrator.diagnose.model import Exit, Match, Place, PythonError, Source
from orchestrator.diagnose.quoted import is_quoted
from orchestrator.diagnose.recovery import Recovery
from orchestrator.diagnose.signature import Kind, Signature
from orchestrator.diagnose.signatures.python import EXCEPTION, LAST_LINE
from orchestrator.diagnose.table import Rule, Rules, rules
from orchestrator.diagnose.traceback import (
    FRAME,
    HARMLESS,
    TITLE,
    Raised,
    Traceback,
    is_exception,
    opens_traceback,
)

BLOCK = 256 * 1024
_ANY_BYTE = frozenset(range(256))
_DIGITS = b"0123456789."
_OPENERS = tuple(text.encode() for text in (TITLE, FRAME, *HARMLESS, *SUMMARY_OPENERS, *MARKERS))
_PREFIX = 48  # characters at the start of a line, in which digits may distinguish ranks
_MAX_SHAPES = 4096
_MAX_READERS = 4096
_MAX_IDLE_LINES = 2000  # of other programs, after which an unfinished traceback is complete
_END = 64 * 1024  # bytes at the end of a source
_CONTEXT = 200  # bytes before a text that are read in a long line
_MAX_DETAILED = 1000  # matches after which a line that differs in numbers only is just counted


class Scan:
    """Reads sources one after another.

    `exits` are those that launchers reported, and `positions` has the order in which sources were read.
    `leads` are the last lines of each source that look like errors.
    `extra` are signatures to look for besides orch's own.
    """

    def __init__(self, findings: Findings, extra: tuple[Signature, ...] = ()) -> None:
        self.exits: list[Exit] = []
        self.positions: dict[str, int] = {}
        self._findings = findings
        self._rules = rules(extra)
        shapes = [(text, text.translate(None, _DIGITS)) for text in (*_OPENERS, *self._rules)]
        self._texts = [(text, shape, frozenset(shape)) for text, shape in shapes]
        self._source = Source("")
        self._tracebacks: dict[Label, Traceback] = {}
        self._summaries: dict[Label, Summary] = {}
        self._idle = 0
        self._in_traceback = 0  # the last line that belongs to a traceback
        self._openers: list[bytes] = []  # those in the current block
        self._near: Rules = self._rules  # those that may match a line of the current block
        self._shapes: dict[bytes, Group | None] = {}
        self._held: dict[
            bytes, Rules
        ] = {}  # by the shape of an exception's line: what may match it
        self._recovery = Recovery()
        self._lines = b""  # of the current block
        self._block_start = 0  # its offset in the source
        self.leads: list[Match] = []
        self._leads: list[Match] = []

    def source(self, source: Source, chunks: Iterable[bytes]) -> None:
        """Read all of a source."""
        self._source = source
        self.positions.setdefault(source.name, len(self.positions))
        self._shapes.clear()
        self._recovery.start(source.name)
        self._leads = []
        self._in_traceback = 0
        number, offset, last = 1, 0, 1
        for block in blocks(chunks):
            last = number + block.count(b"\n", 0, len(block.rstrip()))
            self._block(block, number, offset)
            number += block.count(b"\n")
            offset += len(block)
        self._close(len(self._lines))
        self._last_line(last, offset)
        if stage.is_silent(self._lines[-_END:]):
            end = self._lines.rstrip().rpartition(b"\n")[2]
            line = parse_line(end)
            place = self._place(line, max(1, number - 1), offset)
            self._findings.add(stage.SILENT, match(place, line.text))
        self._lines = b""
        self.leads += self._leads

    def _last_line(self, number: int, offset: int) -> None:
        """Add the exception that the last line of the source names, if nothing else explains it."""
        raw = self._lines.rstrip().rpartition(b"\n")[2]
        line = parse_line(raw)
        if number <= self._in_traceback or len(raw) > MAX_TEXT or not is_exception(line.text):
            return
        if _best(line.text, self._rules) is None and not Recovery.is_announced(line.text):
            self._findings.add(LAST_LINE, match(self._place(line, number, offset), line.text))

    def error(
        self, error: PythonError, place: Place, *, is_logged: bool = False, at: int = 0
    ) -> Group:
        """Add an exception, by the first match of the most important kind in its chain.

        `at` is where it is in the current block.
        """
        links = [error]
        while (because := links[-1].because) is not None:
            links.append(because)
        # The exception that was raised first; of its lines, the one that matches the first row.
        fits = [
            (fit.rule.signature.kind, number, fit.rule.order, fit)
            for number, link in enumerate(reversed(links))
            for line in _searched(link)
            if (fit := _best(line, self._rules_for(line)))
        ]
        fit = min(fits, key=lambda found: found[:3])[3] if fits else None
        signature = fit.rule.signature if fit else EXCEPTION
        text, details = (fit.text, fit.details) if fit else (error.summary, ())
        signature = stage.explained(signature, text, self._lines, at)
        return self._findings.add(
            signature, match(place, text, details, error, is_logged=is_logged)
        )

    def _rules_for(self, line: str) -> Rules:
        """Return the rules that may match a line: the same ones whatever its digits are."""
        shape = line.encode().translate(None, _DIGITS)
        if shape not in self._held:
            if len(self._held) >= _MAX_SHAPES:
                self._held.clear()
            held = (text for text, without_digits, _ in self._texts if without_digits in shape)
            self._held[shape] = {text: self._rules[text] for text in held if text in self._rules}
        return self._held[shape]

    @property
    def _reading(self) -> bool:
        return bool(self._tracebacks or self._summaries)

    def _block(self, block: bytes, number: int, offset: int) -> None:
        # Each state of a progress bar becomes a line; no byte moves.
        lines = block.replace(b"\r\n", b" \n").replace(b"\r", b"\n")
        shapes = b"\n".join(set(lines.translate(None, _DIGITS).split(b"\n")))
        # A line without end has few different bytes, or no spaces: most texts cannot be in it.
        bytes_here = set(shapes) if len(shapes) > BLOCK // 2 else _ANY_BYTE
        texts = [
            text for text, shape, needed in self._texts if needed <= bytes_here and shape in shapes
        ]
        self._near = {text: self._rules[text] for text in texts if text in self._rules}
        self._openers = [text for text in texts if text in _OPENERS]
        at, self._block_start, first_number = 0, offset, number
        self._lines = lines
        for start, same_to in _starts(lines, texts, self._reading):
            if max(start + 1, same_to) <= at:
                continue
            if start > at:
                number += block.count(b"\n", at, start)
                at = start
            while True:
                end = lines.find(b"\n", at)
                end = len(lines) if end < 0 else end
                self._line(lines[at:end], number, offset + at)
                number += block.count(b"\n", at, end + 1)
                last = same_to - (end + 1 - at)  # where the last of the same lines starts
                at = end + 1
                if at < last and self._knows(
                    lines[last : same_to - 1], at - start, last, same_to - at
                ):
                    number += block.count(b"\n", at, same_to)
                    at = same_to
                if (not self._reading and at >= same_to) or at >= len(block):
                    break
        self._recovery.block(lines, shapes)
        for start in leads(lines, shapes):
            end = lines.find(b"\n", start)
            line = parse_line(lines[start : len(lines) if end < 0 else end])
            place = self._place(line, first_number + lines.count(b"\n", 0, start), offset + start)
            self._leads = [*self._leads, match(place, line.text)][-MAX_LEADS:]

    def _line(self, raw: bytes, number: int, offset: int) -> None:
        if self._reading or any(text in raw for text in self._openers):
            line = parse_line(raw)
            for text in line.text.split("\n"):  # several in one of JSON
                self._read(line._replace(text=text), number, offset)
            return
        shape = raw[:_PREFIX] + raw[_PREFIX:].translate(None, _DIGITS)
        if shape in self._shapes:
            known = self._shapes[shape]
            if known is not None:
                known.count += 1
                self._recovery.suspect(known, offset - self._block_start, is_raised=False)
            return
        line = parse_line(raw)
        found: Group | None = None
        for text in line.text.split("\n"):
            found = self._match(line._replace(text=text), number, offset) or found
        if found is not None and _is_worth_reading(found):
            return
        if len(self._shapes) >= _MAX_SHAPES:
            self._shapes.clear()
        self._shapes[shape] = found

    def _knows(self, raw: bytes, read: int, last: int, size: int) -> bool:
        """Tell whether more lines like `raw` say nothing new; then count those that follow.

        `read` bytes of such lines have been read, `size` bytes follow, and `last` is where the last starts.
        """
        if self._reading or any(text in raw for text in self._openers):
            return read > _MAX_DETAILED * (len(raw) + 1)
        shape = raw[:_PREFIX] + raw[_PREFIX:].translate(None, _DIGITS)
        known = self._shapes.get(shape)
        if known is not None:
            known.count += size // (len(raw) + 1)
            self._recovery.suspect(known, last, is_raised=False)
        return shape in self._shapes

    def _read(self, line: Line, number: int, offset: int) -> None:
        """Read a line that may belong to a traceback or to torchrun's summary."""
        self._idle += 1
        text, label = line.text, line.label
        summary = self._summaries.get(label)
        if summary is not None:
            self._idle = 0
            ended = summary.feed(text)
            if ended is not None:  # a host may name itself `localhost`
                self.exits.append(replace(ended, node=self._source.node or ended.node))
            if not summary.reading:
                del self._summaries[label]
            return
        if text in SUMMARY_OPENERS and len(self._summaries) < _MAX_READERS:
            self._summaries[label] = Summary(last=text == SUMMARY_OPENERS[-1])
            return
        self.exits.extend(exits_in(text, label))
        traceback = self._tracebacks.get(label)
        has_room = len(self._tracebacks) < _MAX_READERS
        if traceback is None and has_room and opens_traceback(text):
            traceback = self._tracebacks[label] = Traceback()
        if traceback is not None and not traceback.is_foreign(text):
            self._idle, self._in_traceback = 0, number
            at = offset - self._block_start
            held = self._lines[max(0, at - _CONTEXT) : max(0, at - 1)]
            previous = parse_line(held.rpartition(b"\n")[2])
            before = previous.text if previous.label == label else ""
            raised = traceback.feed(text, self._place(line, number, offset), before)
            self._add_raised(raised, at)
            if traceback.reading:
                return
            del self._tracebacks[label]
        if text.startswith(HARMLESS) and label not in self._tracebacks and has_room:
            self._tracebacks[label] = Traceback(harmless=True)
            return
        self._match(line, number, offset)
        if self._idle > _MAX_IDLE_LINES:
            self._close(offset - self._block_start)

    def _close(self, at: int) -> None:
        """Complete the tracebacks that no line has completed; `at` is how far the block has been read."""
        for traceback in self._tracebacks.values():
            self._add_raised(traceback.close(), at)
        self._tracebacks.clear()
        self._summaries.clear()
        self._idle = 0

    def _add_raised(self, raised: Raised | None, at: int) -> None:
        if raised is not None:
            group = self.error(raised.error, raised.place, is_logged=raised.is_logged, at=at)
            self._recovery.suspect(group, at, is_raised=not raised.is_logged)

    def _match(self, line: Line, number: int, offset: int) -> Group | None:
        """Add the most important match of the line."""
        fit = _best(line.text, self._near)
        if fit is None or (
            fit.rule.signature.kind is Kind.ROOT and Recovery.is_announced(line.text)
        ):
            return None
        place, signature = self._place(line, number, offset), fit.rule.signature
        at = offset - self._block_start
        signature = stage.explained(signature, fit.text, self._lines, at)
        group = self._findings.add(signature, match(place, fit.text, fit.details))
        self._recovery.suspect(group, at, is_raised=False)
        return group

    def _place(self, line: Line, number: int, offset: int) -> Place:
        source, label = self._source, line.label
        clock = source.clock or (lambda offset: None)
        return Place(
            source=source.name,
            line=number,
            rank=source.rank if label.rank is None else label.rank,
            node=label.node or source.node,
            time=clock(offset) if line.time is None else line.time,
        )


def _searched(error: PythonError) -> list[str]:
    """Return the lines of an exception in which signatures are searched for.

    The last ones say where it was raised: `(raised by os.remove)`, and if in an installed package
    `(raised in torch/optim/adamw.py)`.
    """
    lines = error.summary.split("\n")
    raised_by = [] if error.call is None else [f"{lines[0]} (raised by {error.call})"]
    raised_in = [] if error.library is None else [f"{lines[0]} (raised in {error.library})"]
    return [*lines, *raised_by, *raised_in]


def _starts(block: bytes, texts: Sequence[bytes], from_start: bool) -> list[tuple[int, int]]:
    """Return where lines with one of the texts start, ascending; the first line's too if `from_start`.

    Lines that repeat the one before are left out: with each start comes where the same lines end. In a long
    line, the start is shortly before the text.
    """
    starts = {0: 0} if from_start else {}
    for text in texts:
        at = block.find(text)
        while at >= 0:
            start = block.rfind(b"\n", max(0, at - MAX_TEXT // 2), at) + 1
            start = start if start or at <= MAX_TEXT // 2 else at - _CONTEXT
            end = block.find(b"\n", at)
            if end >= 0:
                end = starts[start] = _end_of_same(block, start, end + 1)
                at = block.find(text, end)
            else:
                starts[start] = len(block)
                break
    return sorted(starts.items())


def _end_of_same(block: bytes, start: int, end: int) -> int:
    """Return where the lines end that follow a line, from `start` to `end`, and repeat it."""
    line = block[start:end]
    step = 1
    while step:
        if block.startswith(line * step, end):
            end += len(line) * step
            step *= 2
        else:
            step //= 2
    return end


class _Fit(NamedTuple):
    """A rule that matches a line, with its named groups."""

    rule: Rule
    text: str
    details: Sequence[tuple[str, str]]


def _best(text: str, rules: Rules) -> _Fit | None:
    """Return the most important rule that matches a line; of one kind, the first of the table."""
    raw = text.encode()
    fits = [
        (rule.signature.is_general, rule.signature.kind, rule.order, rule, found)
        for held, group in rules.items()
        if held in raw
        for rule in group
        if (found := rule.pattern.search(text)) and not is_quoted(text, *found.span())
    ]
    if not fits:
        return None
    *_, rule, found = min(fits, key=lambda fit: fit[:3])
    return _Fit(rule, text, [(name, value or "?") for name, value in found.groupdict().items()])


def _is_worth_reading(group: Group) -> bool:
    """Return whether a line that differs in numbers only may still add something."""
    return group.count < _MAX_DETAILED and any(match.details for match in group.matches.values())


def blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bytes of `chunks` in blocks of about `BLOCK` bytes that end with a newline.

    The last block and the pieces of a line longer than a block may lack it.
    """
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        for start in range(0, len(chunk), BLOCK):
            piece = chunk[start : start + BLOCK]
            held.append(piece)
            size += len(piece)
            if size < BLOCK:
                continue
            data = b"".join(held)
            end = data.rfind(b"\n") + 1 or len(data)
            yield data[:end]
            held, size = [data[end:]], len(data) - end
    if size:
        yield b"".join(held)
