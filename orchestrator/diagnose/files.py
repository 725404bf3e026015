"""Find the log files, of any launcher, that a person names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from orchestrator.diagnose import Source
from orchestrator.diagnose.encoding import utf16
from orchestrator.diagnose.read import GZIP, Log
from orchestrator.errors import UsageError

MAX_FILES = 10_000
"""How many files are read if folders are named."""

STDIN = "-"

_MAX_HEAD = 8192  # bytes at the start of a file that show whether it is text
_RANK = re.compile(r"(?<![A-Za-z])rank[-_.]?(\d{1,7})(?!\d)", re.IGNORECASE)
_NUMBER = re.compile(r"(\d+)")


@dataclass(frozen=True)
class FoundLogs:
    """The files to read, and a sentence about each kind of file that is left out."""

    logs: tuple[Log, ...]
    left_out: tuple[str, ...]


def find_logs(names: Iterable[str]) -> FoundLogs:
    """Return the files that are named: `-` is standard input, a folder all text files below it.

    Files of a folder are in order of their names, numbers by value; links to folders are not followed. A
    name such as `rank-3.log` tells the rank. Raises UsageError for a file that does not exist.
    """
    logs: dict[str, Log] = {}
    binary, beyond = 0, False
    for name in names:
        if name == STDIN:
            logs[name] = Log(Source("(standard input)"), None, None)
            continue
        path = Path(name)
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError) as error:
            why = f": {error.strerror}" if isinstance(error, PermissionError) else ""
            raise UsageError(f"there is no file {name!r}{why}") from None
        if not S_ISDIR(mode):
            logs[str(path)] = _log(path)
            continue
        for file in _files_below(path):
            if len(logs) >= MAX_FILES:
                beyond = True
                break
            if _is_text(file):
                logs.setdefault(str(file), _log(file))
            else:
                binary += 1
    left_out = []
    if binary:
        left_out.append(f"{binary} {'file is' if binary == 1 else 'files are'} not text")
    if beyond:
        left_out.append(f"more than {MAX_FILES} files; name fewer")
    return FoundLogs(tuple(logs.values()), tuple(left_out))


def _log(path: Path) -> Log:
    status = path.stat()
    rank = _RANK.search(path.name)
    size = status.st_size if S_ISREG(status.st_mode) else None
    return Log(Source(str(path), rank=int(rank[1]) if rank else None), path, size)


def _files_below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders.sort(key=_by_numbers)
        for name in sorted(files, key=_by_numbers):
            path = Path(parent, name)
            try:
                if S_ISREG(path.stat().st_mode):
                    yield path
            except OSError:  # removed just now, or a broken link
                continue


def _by_numbers(name: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdecimal() else -1, part) for part in _NUMBER.split(name)]


def _is_text(path: Path) -> bool:
    """Return whether a file looks like text; one that cannot be read is reported when it is read."""
    try:
        with path.open("rb") as file:
            head = file.read(_MAX_HEAD)
    except OSError:
        return True
    return (
        b"\0" not in head
        or utf16(head) is not None
        or (path.suffix == ".gz" and head.startswith(GZIP))
    )
