"""Read Python tracebacks line by line: which exception, and where in the user's own code."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace

from orchestrator.diagnose.boxed import TITLE as TITLE
from orchestrator.diagnose.boxed import Unboxed
from orchestrator.diagnose.label import MAX_TEXT
from orchestrator.diagnose.model import Place, PythonError
from orchestrator.diagnose.values import encodable, valid_time

HEADER = f"{TITLE}:"
"""The first line of a traceback; in some logs it is in the middle of a line."""

_OF_RANK = re.compile(re.escape(HEADER) + r" \(RANK \d{1,7}\)")  # torch.distributed.checkpoint

FRAME = '  File "'
"""The start of the frames of a traceback, also of one without a header."""

HARMLESS = ("Exception ignored ", "--- Logging error ---")
"""Start of the line before the traceback of an exception that ended nothing."""

LOGGED = re.compile(r"\b(?:ERROR|CRITICAL)\b")
"""In the line before the traceback of an exception that a program caught and logged. (A warning before
a traceback may be unrelated.)
"""

MAX_LINES = 4000
MAX_MESSAGE = 2000
MAX_BLANK = 3
MAX_CHAIN = 32
"""How many exceptions of a chain are kept; of more, the first and the last ones."""

_UNNAMED = "Exception"
_MAX_FILE_TEXT = 1 << 20  # characters of a text in an error file

_FRAME = re.compile(
    r'\s{0,40}File "(?P<file>[^"]{1,1000})", line (?P<line>\d{1,9})(?:, in (?P<function>.{1,200}))?'
)
# Not a level of logging such as `INFO: ...`.
_EXCEPTION = re.compile(
    r"(?P<type>(?=[\w.]{0,200}[a-z])[A-Za-z_][\w.]{0,200})(?:: ?(?P<message>.*))?$", re.DOTALL
)
_CHAIN = re.compile(
    r"During handling of the above exception, another exception occurred:$"
    r"|The above exception was the direct cause of the following exception:$"
)
_STANDARD = re.compile(r"^<frozen |/lib(?:64)?/python\d[\d.]*/(?!(?:site|dist)-packages/)")
# What a line of the source calls or asserts; the rest of it may be any text.
_CALL = re.compile(r"(?:return )?[\w.]{1,80}(?=\()|assert [\w. ]{1,80}$")
# The exception follows again as it was first raised, in another process.
_ORIGIN = re.compile(r"Original Traceback \(|-- Process \d+ terminated with the following error:$")
# Of a traceback whose header is missing, as in a log that was cut.
_SURELY = re.compile(
    r"(?:[\w.]{0,200}\.)?\w{0,80}(?:Error|Exception|Interrupt|Exit|Failure|Failed|Timeout|Closed)(?::|$)"
)
_MORE = re.compile(r"nccl[A-Z]\w{1,40}: |Last error:$")
_OPEN = re.compile(r"\nLast error:$|\braised:$")  # NCCL's, torch.compile's
_PACKAGE = re.compile(r"/(?:site|dist)-packages/(?P<file>.{1,400})$")
_LIBRARY = re.compile(
    r"^<frozen |/(?:site|dist)-packages/|/lib(?:64)?/python\d[\d.]*/|^/opt/conda/lib/"
    r"|/bin/(?:torchrun|fabric|lightning|accelerate|deepspeed)$"
)


@dataclass(frozen=True)
class Raised:
    """An exception and the place of the line that names it; `is_logged` if the program caught it."""

    error: PythonError
    place: Place
    is_logged: bool = False


def opens_traceback(text: str) -> bool:
    """Tell whether a traceback starts with this line: a header, a box, or a frame if the log was cut."""
    return text.endswith(HEADER) or Unboxed().line(text) != text or _FRAME.match(text) is not None


def is_exception(text: str) -> bool:
    """Tell whether a line names an exception, with a message, as the last line of a traceback does."""
    found = _EXCEPTION.match(text)
    return found is not None and bool(found["message"]) and _SURELY.match(text) is not None


class Traceback:
    """Reads the tracebacks of one program from its lines, and returns each exception once it is complete.

    It is `reading` from the header of a traceback to the line after the exception: only that line shows
    that neither the message nor the chain of exceptions continues.
    """

    def __init__(self, *, harmless: bool = False) -> None:
        self.in_frames = False
        self._box = Unboxed()
        self._is_headless = False
        self._library: str | None = None
        self._call: str | None = None
        self._is_standard = False  # the frame, of Python's own library
        self._is_logged = False
        self._is_harmless = self._is_awaited = harmless
        # What precedes the header precedes all lines of a traceback if it precedes the next one.
        self._prefix, self._is_prefixed = "", False
        self._frame: tuple[str, int, str | None] | None = None  # file, line, function
        self._lines = 0
        self._raised: Raised | None = None
        self._because: PythonError | None = None
        self._links = 0  # of the chain before the current exception

    @property
    def reading(self) -> bool:
        """Whether the next line may still belong to an exception."""
        return self.in_frames or self._is_awaited or self._raised is not None

    def is_foreign(self, text: str) -> bool:
        """Return whether a line is not of this program, as it lacks the prefix of the program's lines."""
        return self._is_prefixed and not text.startswith(self._prefix.rstrip())

    def feed(self, text: str, place: Place, before: str = "") -> Raised | None:
        """Return the exception that this line completes; `before` is the line before it."""
        self._lines += 1
        self._is_awaited = False
        text = self._box.line(text)
        if not self.reading and not text.endswith(HEADER) and _FRAME.match(text):
            self._start()
            self._is_headless = True
        if self._prefix and text.startswith(self._prefix):
            text, self._is_prefixed = text[len(self._prefix) :], True
        elif self._is_prefixed and text == self._prefix.rstrip():
            text = ""
        elif self._raised and _OF_RANK.fullmatch(text):
            frame = self._frame  # the user's own; the traceback of the rank usually has none
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
        """Return the exception that was read last, as nothing follows it."""
        raised, self._raised, self._because, self.in_frames = self._raised, None, None, False
        self._links = 0
        self._is_awaited, is_harmless = False, self._is_harmless
        self._is_harmless = False
        return None if is_harmless else raised

    def _open(self, again: bool, before: str = "") -> Raised | None:
        """Start a traceback; `again`: of the same exception, as it was first raised."""
        if again:
            self._raised = None
        done = self.close() if self._raised else None
        if not again and not self.in_frames:
            self._is_logged = LOGGED.search(before) is not None
        self._start()
        return done

    def _start(self) -> None:
        self._frame, self.in_frames, self._lines = None, True, 0
        self._is_headless, self._library, self._call = False, None, None
        self._is_standard = False

    def _read_frame(self, text: str, place: Place) -> None:
        if self._lines > MAX_LINES:
            self.in_frames = False
        elif not text or text[0] in " \t":
            found = _FRAME.match(text)
            if found:
                self._is_standard = _STANDARD.search(found["file"]) is not None
            if not self._is_standard:
                call = None if found else _CALL.match(text.strip())
                self._call = call[0] if call else None if found else self._call
            if found:
                package = _PACKAGE.search(found["file"])
                self._library = package["file"] if package else None
            if found and not _LIBRARY.search(found["file"]):
                self._frame = (found["file"], int(found["line"]), found["function"])
        elif self._is_headless and not _SURELY.match(text):
            self.in_frames = self._is_headless = False
        elif found := _EXCEPTION.match(text):
            self.in_frames, self._lines = False, 0
            message = (found["message"] or "")[:MAX_MESSAGE]
            file, line, function = self._frame or (None, None, None)
            error = PythonError(
                *(found["type"], message, file, line, function),
                because=self._because,
                library=self._library,
                call=self._call,
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
        elif stripped and _continues(self._raised.error.message, stripped):
            error = self._raised.error
            message = f"{error.message}\n{stripped}".strip()[:MAX_MESSAGE]
            self._raised = replace(self._raised, error=replace(error, message=message))
        elif stripped or self._lines > MAX_BLANK:
            return self.close()
        return None


def _continues(before: str, line: str) -> bool:
    """Tell whether a line that is not indented belongs to the message before it: torch's about NCCL."""
    is_first = not before and any(char.isalnum() for char in line[:8])  # no rule of `=` or `-`
    return is_first or _MORE.match(line) is not None or _OPEN.search(before) is not None


def read_error_file(data: bytes) -> tuple[PythonError, float | None] | None:
    """Parse torch's error file: `{"message": {"message": ..., "extraInfo": {"py_callstack": ...}}}`.

    Return the exception and its time (seconds since the epoch); None for anything else.
    """
    try:
        message = json.loads(data)["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if isinstance(message, str):
        return PythonError(_UNNAMED, _short(message)), None
    text = message.get("message") if isinstance(message, dict) else None
    if not isinstance(text, str):
        return None
    extra = message.get("extraInfo")
    extra = extra if isinstance(extra, dict) else {}
    stack = extra.get("py_callstack")
    error = (_last(stack) if isinstance(stack, str) else None) or _last(text)
    if error is None:
        found = _EXCEPTION.match(encodable(text[:_MAX_FILE_TEXT]))
        name, reason = (found["type"], found["message"]) if found else (_UNNAMED, text)
        error = PythonError(name, _short(reason or ""))
    return error, _time(extra.get("timestamp"))


def _short(message: str) -> str:
    return encodable(message[:MAX_MESSAGE])


def _last(text: str) -> PythonError | None:
    """Return the last exception in a text."""
    reader, nowhere, raised = Traceback(), Place(""), None
    for line in encodable(text[-_MAX_FILE_TEXT:]).split("\n"):
        raised = reader.feed(line[:MAX_TEXT], nowhere) or raised
    raised = reader.close() or raised
    return raised.error if raised else None


def _time(value: object) -> float | None:
    """Return a time that torch has written as a text or a number."""
    if isinstance(value, str):
        try:
            value = float(value[:40])
        except ValueError:
            return None
    return valid_time(value)
