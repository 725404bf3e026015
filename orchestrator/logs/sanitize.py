"""Make remote text safe for a terminal: colour passes, everything else is made visible.

Escape sequences can move the cursor, retitle the window, write the clipboard or make the terminal
type; bidirectional controls can make a line read differently from what it says. Of all control
sequences only SGR (colour, bold, ...) passes. The rest is shown as `^[`, `^G` (caret notation, as
`cat -v`) or `<U+202E>` (as `less`), many zero bytes as how many there are, and invalid UTF-8 as U+FFFD.

A pipe often ends at a terminal too (`| tee`, `| grep`, a file that is printed later), so text is made
harmless wherever it goes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

SGR = re.compile(r"\x1b\[[0-9;:]{0,64}m")
"""The one kind of sequence that passes."""

_RESET = "\x1b[0m"
_PIECE = 16 * 1024  # bytes, to their next newline, that are looked at by themselves
# ASCII controls except tab and newline. ESC is among them: a line with colour is no hot path.
_ASCII_CONTROLS = tuple(bytes([code]) for code in (*range(0x20), 0x7F) if code not in b"\t\n")
_ESCAPE_BUT_SGR = re.compile(r"\x1b(?!\[[0-9;:]{0,64}m)")
# ESC has been dealt with when this is used. C1 controls, then the bidirectional ones (UAX #9).
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f\x80-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
# More than anybody needs to see: a hole that was read as zeros.
_ZEROS = re.compile("\0{64,}")
# An SGR that sets something, with no other one after it on its line.
_LEFT_OPEN = re.compile(r"\x1b\[(?!0?m)[0-9;:]*m[^\n\x1b]*+(?=\n|\Z)")


def sanitize(lines: bytes) -> bytes:
    """`lines` as valid UTF-8 whose only controls are tab, newline and SGR, reset on each line.

    Each line is treated by itself. A chunk of plain ASCII returns at about memory speed, and in another one
    the stretches that are.
    """
    if _is_plain(lines):
        return lines
    return b"\n".join([piece if _is_plain(piece) else _shown(piece) for piece in _pieces(lines)])


def _is_plain(lines: bytes) -> bool:
    return lines.isascii() and not any(control in lines for control in _ASCII_CONTROLS)


def _pieces(lines: bytes) -> Iterator[bytes]:
    """Yield `lines` in stretches of whole lines, each without its last newline."""
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
        # As many replacements as there are kinds of controls, however many controls there are.
        for control in filter(_CONTROL.match, set(text)):
            text = text.replace(control, _visible(control))
    if "\x1b" in text:
        text = _LEFT_OPEN.sub(rf"\g<0>{_RESET}", text)
    return text.encode()


def without_colour(text: str) -> str:
    """`text` without its SGR sequences."""
    return SGR.sub("", text) if "\x1b" in text else text


def as_seen(line: bytes) -> str:
    """What a terminal shows of a line in the end, without colour."""
    return without_colour(sanitize(line.rstrip(b"\r").rpartition(b"\r")[2]).decode())


def _visible(control: str) -> str:
    code = ord(control)
    return f"^{chr(code ^ 0x40)}" if code < 0x80 else f"<U+{code:04X}>"
