"""Make remote text safe for a terminal: colour passes, all other control characters are made visible.

Escape sequences can move the cursor, change the window title, write to the clipboard or make the terminal
type; bidirectional controls can reorder a line. Of all control sequences only SGR (colour, bold, ...)
passes. The rest is shown as `^[`, `^G` (caret notation, as `cat -v`) or `<U+202E>` (as `less`), many zero
bytes as their number, and invalid UTF-8 as U+FFFD.

Text for a pipe is sanitized, too: it often ends at a terminal (`| tee`, `| grep`, a file that is printed).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

SGR = re.compile(r"\x1b\[[0-9;:]{0,64}m")
"""The only kind of sequence that passes."""

_RESET = "\x1b[0m"
_PIECE = 16 * 1024  # bytes, up to the next newline, that are checked together
# ASCII controls except tab and newline. ESC is among them: lines with colour are rare.
_ASCII_CONTROLS = tuple(bytes([code]) for code in (*range(0x20), 0x7F) if code not in b"\t\n")
_ESCAPE_BUT_SGR = re.compile(r"\x1b(?!\[[0-9;:]{0,64}m)")
# Without ESC, which is replaced before. C1 controls, then the bidirectional ones (UAX #9).
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f\x80-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
# Such as a hole that was read as zeros.
_ZEROS = re.compile("\0{64,}")
# An SGR sequence that sets something and is the last on its line.
_LEFT_OPEN = re.compile(r"\x1b\[(?!0?m)[0-9;:]*m[^\n\x1b]*+(?=\n|\Z)")


def sanitize(lines: bytes) -> bytes:
    """Return `lines` as valid UTF-8 with no controls but tab, newline and SGR, reset on each line.

    Each line is treated by itself. Plain ASCII, also within a chunk, is passed at about memory speed.
    """
    if _is_plain(lines):
        return lines
    return b"\n".join([piece if _is_plain(piece) else _shown(piece) for piece in _pieces(lines)])


def _is_plain(lines: bytes) -> bool:
    return lines.isascii() and not any(control in lines for control in _ASCII_CONTROLS)


def _pieces(lines: bytes) -> Iterator[bytes]:
    """Yield `lines` in pieces of whole lines, each without its last newline."""
    start = 0
    while (end := lines.find(b"\n", start + _PIECE)) >= 0:
        yield lines[start:end]
        start = end + 1
    yield lines[start:]


def _shown(lines: bytes) -> bytes:
    text = _ESCAPE_BUT_SGR.sub("^[", lines.decode("utf-8", "replace"))
    if "\0" in text:
        text = _ZEROS.sub(lambda zeros: f"[{len(zeros[0])} zero bytes]", text)
    if _CONTROL.search(text):
        # One replacement for each kind of control, whatever their number.
        for control in filter(_CONTROL.match, set(text)):
            text = text.replace(control, _visible(control))
    if "\x1b" in text:
        text = _LEFT_OPEN.sub(rf"\g<0>{_RESET}", text)
    return text.encode()


def without_colour(text: str) -> str:
    """Return `text` without its SGR sequences."""
    return SGR.sub("", text) if "\x1b" in text else text


def as_seen(line: bytes) -> str:
    """Return what a terminal finally shows of a line, without colour."""
    return without_colour(sanitize(line.rstrip(b"\r").rpartition(b"\r")[2]).decode())


def _visible(control: str) -> str:
    code = ord(control)
    return f"^{chr(code ^ 0x40)}" if code < 0x80 else f"<U+{code:04X}>"
