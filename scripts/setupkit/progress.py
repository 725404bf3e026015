"""Show the progress of pip: read its output with `--progress-bar raw` on stdin, write to stderr.

On a terminal it is one line that changes; elsewhere a line every few seconds.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from typing import TextIO

INTERVAL = 5.0  # seconds between two lines, without a terminal
_DOWNLOADING = re.compile(r"\s*Downloading (\S+)")
_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_INSTALLING = re.compile(r"Installing collected packages: (.+)")


class Progress:
    """Shows the progress in lines of pip."""

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._clock = clock
        self._is_terminal = out.isatty()
        self._file = ""
        self._next = clock() + INTERVAL

    def read(self, line: str) -> None:
        """Read one line of pip."""
        if found := _DOWNLOADING.match(line):
            self._file = found[1].rsplit("/", 1)[-1]
        elif (found := _PROGRESS.match(line)) and found[1] != "0":
            done, total = int(found[1]), int(found[2])
            share = f"{100 * done // total:3} %" if total else ""
            self._show(f"downloading {self._file}: {share} of {total / 1e6:.1f} MB")
        elif found := _INSTALLING.match(line):
            count = len(found[1].split(", "))
            self._show(f"installing {count} package{'s' if count > 1 else ''}", at_once=True)

    def close(self) -> None:
        """Clear the line of the terminal."""
        if self._is_terminal:
            self._out.write("\r\x1b[K")
            self._out.flush()

    def _show(self, text: str, *, at_once: bool = False) -> None:
        if self._is_terminal:
            width = shutil.get_terminal_size().columns
            self._out.write(f"\r  {text}"[:width] + "\x1b[K")
        elif at_once or self._clock() >= self._next:
            self._next = self._clock() + INTERVAL
            self._out.write(f"  {text}\n")
        self._out.flush()


def follow(lines: Iterable[str], progress: Progress) -> None:
    """Show the progress in pip's lines until their end."""
    try:
        for line in lines:
            progress.read(line)
    finally:
        progress.close()


if __name__ == "__main__":
    follow(iter(sys.stdin.readline, ""), Progress(sys.stderr))
