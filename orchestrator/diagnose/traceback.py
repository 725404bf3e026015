"""Reads Python tracebacks line by line: which exception, and where in the user's own code."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace

from orchestrator.diagnose.label import MAX_TEXT
from orchestrator.diagnose.model import Place, PythonError
from orchestrator.diagnose.values import a_moment, encodable

HEADER = "Traceback (most recent call last):"
"""What opens a traceback; in the middle of a line in some logs."""

_OF_RANK = re.compile(re.escape(HEADER) + r" \(RANK \d{1,7}\)")  # torch.distributed.checkpoint

HARMLESS = ("Exception ignored ", "--- Logging error ---")
"""What begins the line before the traceback of an exception that ended nothing."""

LOGGED = re.compile(r"\b(?:ERROR|CRITICAL)\b")
"""What is in the line before the traceback of an exception that a program caught, and logged. (A warning
before one may be of anything.)
"""

MAX_LINES = 4000
MAX_MESSAGE = 2000
MAX_BLANK = 3
MAX_CHAIN = 32
"""So many exceptions are told that one was raised from; of more, the first and the last ones."""

_UNNAMED = "Exception"
_LONGEST_FILE = 1 << 20  # characters of a text in an error file that are looked at

_FRAME = re.compile(
    r'\s{0,40}File "(?P<file>[^"]{1,1000})", line (?P<line>\d{1,9})(?:, in (?P<function>.{1,200}))?'
)
# A level of logging (`INFO: ...`) is no exception.
_EXCEPTION = re.compile(
    r"(?P<type>(?=[\w.]{0,200}[a-z])[A-Za-z_][\w.]{0,200})(?:: ?(?P<message>.*))?$", re.DOTALL
)
_CHAIN = re.compile(
    r"During handling of the above exception, another exception occurred:$"
    r"|The above exception was the direct cause of the following exception:$"
)
# What follows tells the exception in the process where it was first raised.
_ORIGIN = re.compile(r"Original Traceback \(|-- Process \d+ terminated with the following error:$")
_NOT_OURS = re.compile(
    r"^<frozen |/(?:site|dist)-packages/|/lib(?:64)?/python\d[\d.]*/|^/opt/conda/lib/"
    r"|/bin/(?:torchrun|fabric|lightning|accelerate|deepspeed)$"
)


@dataclass(frozen=True)
class _Frame:
    file: str | None
    line: int | None
    function: str | None


@dataclass(frozen=True)
class Raised:
    """An exception, and where the line stands that names it; `is_logged`, where the program caught it."""

    error: PythonError
    place: Place
    is_logged: bool = False


class Traceback:
    """The tracebacks of one program: feed it lines; it says when an exception is complete.

    It is `reading` from the header of a traceback up to the line after the exception, for only that
    line tells that neither the message nor the chain of exceptions goes on.
    """

    def __init__(self, *, harmless: bool = False) -> None:
        self.in_frames = False
        self._is_logged = False
        self._is_harmless = self._is_awaited = harmless
        # What stands before the header is before all lines of a traceback, if it is before the next one.
        self._prefix, self._is_prefixed = "", False
        self._frame: _Frame | None = None
        self._lines = 0
        self._raised: Raised | None = None
        self._because: PythonError | None = None
        self._links = 0  # of the chain before the exception that is read

    @property
    def reading(self) -> bool:
        """Whether the next line may still belong to an exception."""
        return self.in_frames or self._is_awaited or self._raised is not None

    def is_foreign(self, text: str) -> bool:
        """Tell whether a line is not of this program: its lines have a prefix that nobody else knows."""
        return self._is_prefixed and not text.startswith(self._prefix.rstrip())

    def feed(self, text: str, place: Place, before: str = "") -> Raised | None:
        """Return the exception that this line shows to be complete; `before` is the line before it."""
        self._lines += 1
        self._is_awaited = False
        if self._prefix and text.startswith(self._prefix):
            text, self._is_prefixed = text[len(self._prefix) :], True
        elif self._is_prefixed and text == self._prefix.rstrip():
            text = ""
        elif self._raised and _OF_RANK.fullmatch(text):
            frame = self._frame  # the user's own, for the rank's has none as a rule
            self._open(again=True)
            self._frame = frame
            return None
        elif text.endswith(HEADER):
            self._prefix, self._is_prefixed = text[: -len(HEADER)], False
        if text.endswith(HEADER):
            return self._open(again=bool(_ORIGIN.match(text.strip())), before=before)
        if self.in_frames:
            self._read_frame(text, place)
            return None
        return self._read_after(text) if self._raised else None

    def close(self) -> Raised | None:
        """Return the exception that was read last; nothing follows it."""
        raised, self._raised, self._because, self.in_frames = self._raised, None, None, False
        self._links = 0
        self._is_awaited, is_harmless = False, self._is_harmless
        self._is_harmless = False
        return None if is_harmless else raised

    def _open(self, again: bool, before: str = "") -> Raised | None:
        """Begin a traceback; `again`: it tells the same exception from where it was first raised."""
        if again:
            self._raised = None
        done = self.close() if self._raised else None
        if not again and not self.in_frames:
            self._is_logged = LOGGED.search(before) is not None
        self._start()
        return done

    def _start(self) -> None:
        self._frame, self.in_frames, self._lines = None, True, 0

    def _read_frame(self, text: str, place: Place) -> None:
        if self._lines > MAX_LINES:
            self.in_frames = False
        elif not text or text[0] in " \t":
            found = _FRAME.match(text)
            if found and not _NOT_OURS.search(found["file"]):
                self._frame = _Frame(found["file"], int(found["line"]), found["function"])
        elif found := _EXCEPTION.match(text):
            frame = self._frame or _Frame(None, None, None)
            self.in_frames, self._lines = False, 0
            error = PythonError(
                type=found["type"],
                message=(found["message"] or "")[:MAX_MESSAGE],
                file=frame.file,
                line=frame.line,
                function=frame.function,
                because=self._because,
            )
            self._raised = Raised(error, place, self._is_logged)

    def _read_after(self, text: str) -> Raised | None:
        assert self._raised is not None
        stripped = text.strip()
        if _CHAIN.match(stripped):
            error, self._raised = self._raised.error, None
            self._links += 1
            if self._links > MAX_CHAIN and error.because is not None:
                error = replace(error, because=error.because.because)
            self._because = error
            self.in_frames, self._lines = True, 0
        elif _ORIGIN.match(stripped):
            self._raised = None
            self._start()
        elif stripped and text[0] in " \t":
            error = self._raised.error
            message = f"{error.message}\n{stripped}".strip()
            if len(message) <= MAX_MESSAGE:
                self._raised = replace(self._raised, error=replace(error, message=message))
        elif stripped or self._lines > MAX_BLANK:
            return self.close()
        return None


def read_error_file(data: bytes) -> tuple[PythonError, float | None] | None:
    """Read torch's error file: `{"message": {"message": ..., "extraInfo": {"py_callstack": ...}}}`.

    Return the exception and its time (seconds since the epoch), or None if it is no such file.
    """
    try:
        message = json.loads(data)["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if isinstance(message, str):
        return PythonError(_UNNAMED, _short(message)), None
    said = message.get("message") if isinstance(message, dict) else None
    if not isinstance(said, str):
        return None
    extra = message.get("extraInfo")
    extra = extra if isinstance(extra, dict) else {}
    stack = extra.get("py_callstack")
    error = (_last(stack) if isinstance(stack, str) else None) or _last(said)
    if error is None:
        found = _EXCEPTION.match(encodable(said[:_LONGEST_FILE]))
        name, text = (found["type"], found["message"]) if found else (_UNNAMED, said)
        error = PythonError(name, _short(text or ""))
    return error, _number(extra.get("timestamp"))


def _short(message: str) -> str:
    return encodable(message[:MAX_MESSAGE])


def _last(text: str) -> PythonError | None:
    reader, nowhere, raised = Traceback(), Place(""), None
    for line in encodable(text[-_LONGEST_FILE:]).split("\n"):
        raised = reader.feed(line[:MAX_TEXT], nowhere) or raised
    raised = reader.close() or raised
    return raised.error if raised else None


def _number(value: object) -> float | None:
    """Return the time that torch has written as a text or as a number."""
    if isinstance(value, str):
        try:
            value = float(value[:40])
        except ValueError:
            return None
    return a_moment(value)
