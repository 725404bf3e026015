"""Make remote text safe to write to a terminal: colour passes, everything else is made visible.

Escape sequences can move the cursor, retitle the window, write the clipboard or make the terminal
type; bidirectional controls can make a line read differently from what it says. Of all control
sequences only SGR (colour, bold, ...) passes. The rest is shown as `^[`, `^G` (caret notation, as
`cat -v`) or `<U+202E>` (as `less`), and invalid UTF-8 as U+FFFD.
"""

from __future__ import annotations

import re

SGR = re.compile(r"\x1b\[[0-9;:]{0,64}m")
"""The one kind of sequence that passes."""

_RESET = "\x1b[0m"
# ASCII controls except tab and newline. ESC is among them: a line with colour is no hot path.
_ASCII_CONTROLS = tuple(bytes([code]) for code in (*range(0x20), 0x7F) if code not in b"\t\n")
_ESCAPE_BUT_SGR = re.compile(r"\x1b(?!\[[0-9;:]{0,64}m)")
# ESC has been dealt with when this is used. C1 controls, then the bidirectional ones (UAX #9).
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f\x80-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
# An SGR that sets something, with no other one after it on its line.
_LEFT_OPEN = re.compile(r"\x1b\[(?!0?m)[0-9;:]*m[^\n\x1b]*+(?=\n|\Z)")


def harmless(lines: bytes) -> bytes:
    """`lines` as valid UTF-8 whose only controls are tab, newline and SGR, reset on each line.

    Each line is treated by itself. A chunk of plain ASCII returns at about memory speed.
    """
    if lines.isascii() and not any(control in lines for control in _ASCII_CONTROLS):
        return lines
    text = _ESCAPE_BUT_SGR.sub("^[", lines.decode("utf-8", "replace"))
    # At most as many replacements as there are kinds of controls, however many controls come.
    for control in set(_CONTROL.findall(text)):
        text = text.replace(control, _visible(control))
    if "\x1b" in text:
        text = _LEFT_OPEN.sub(rf"\g<0>{_RESET}", text)
    return text.encode()


def without_colour(text: str) -> str:
    """`text` without its SGR sequences."""
    return SGR.sub("", text) if "\x1b" in text else text


def as_seen(line: bytes) -> str:
    """What a terminal shows of a line in the end, without colour."""
    return without_colour(harmless(line.rstrip(b"\r").rpartition(b"\r")[2]).decode())


def _visible(control: str) -> str:
    code = ord(control)
    return f"^{chr(code ^ 0x40)}" if code < 0x80 else f"<U+{code:04X}>"
