"""Hand a POSIX sh script to whatever login shell a user has: bash, zsh, dash, fish, tcsh.

sshd gives our command line to the login shell, and no quoting means the same to all of them: fish
unescapes backslashes inside single quotes, csh cannot hold a newline in them and expands `!`. So
every character outside a small safe set travels as `%0ooo` (octal), in one single-quoted word, and
a few lines of sh, themselves free of everything delicate, turn it back and start /bin/sh on it.
"""

from __future__ import annotations

import re

# An argument of execve cannot be longer on Linux (MAX_ARG_STRLEN), and the shell gets all as one.
LONGEST = 128 * 1024 - 1

_UNSAFE = re.compile(rb"[^A-Za-z0-9 \"$&()*+,./:;<=>?@\[\]^_`{|}~#-]")

# "\134" is a backslash: no shell touches a backslash before a digit inside single quotes. The
# payload starts with %, so ${0#%} split at % gives the octal codes, each with what follows it.
_DECODE = (
    'IFS=%;set -f;b=$(printf "\\134");s=;for p in ${0#%};do s="$s$b$p";done;'
    'exec /bin/sh -c "$(printf %b "$s")"'
)


def command_for(script: str) -> str:
    """Return a command line that runs `script` under /bin/sh from any login shell.

    Raises ValueError when `script` holds a NUL, which no argument can, or is too long for one.
    """
    data = script.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise ValueError("a NUL byte cannot be part of a script")
    head, tail = data[:1] or b"\n", data[1:]
    payload = b"%%0%03o" % head[0] + _UNSAFE.sub(lambda m: b"%%0%03o" % m[0][0], tail)
    line = f"exec /bin/sh -c '{_DECODE}' '{payload.decode('ascii')}'"
    if len(line) > LONGEST:
        raise ValueError(f"a script of {len(data)} bytes is too long for a command line")
    return line
