"""Run a POSIX sh script from any login shell: bash, zsh, dash, fish, tcsh.

sshd passes the command line to the login shell, and no quoting has the same meaning in all of them: fish
unescapes backslashes in single quotes, csh allows no newline in them and expands `!`. So every character
outside a small safe set is encoded as `%0ooo` (octal) in one single-quoted word; a short sh command without
special characters decodes it and starts /bin/sh.
"""

from __future__ import annotations

import re

# Linux limits an argument of execve (MAX_ARG_STRLEN), and the shell gets the command line as one.
MAX_LENGTH = 128 * 1024 - 1

_UNSAFE = re.compile(rb"[^A-Za-z0-9 \"$&()*+,./:;<=>?@\[\]^_`{|}~#-]")

# "\134" is a backslash: no shell changes a backslash before a digit in single quotes. The payload starts
# with %, so ${0#%} split at % gives the octal codes, each with the characters after it.
_DECODE = (
    'IFS=%;set -f;b=$(printf "\\134");s=;for p in ${0#%};do s="$s$b$p";done;'
    'exec /bin/sh -c "$(printf %b "$s")"'
)


def command_for(script: str, *, is_restricted: bool = False) -> str:
    """Return a command line that runs `script` under /bin/sh from any login shell.

    A restricted shell (rbash) has no `exec`, and no names with a slash: it must find `sh`.
    Raises ValueError if `script` contains a NUL, or is too long for an argument.
    """
    data = script.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise ValueError("a NUL byte cannot be part of a script")
    head, tail = data[:1] or b"\n", data[1:]
    payload = b"%%0%03o" % head[0] + _UNSAFE.sub(lambda m: b"%%0%03o" % m[0][0], tail)
    start = "sh" if is_restricted else "exec /bin/sh"
    line = f"{start} -c '{_DECODE}' '{payload.decode('ascii')}'"
    if len(line) > MAX_LENGTH:
        raise ValueError(f"a script of {len(data)} bytes is too long for a command line")
    return line
