"""Parse the dumps of a process's threads by faulthandler and py-spy.

Both give a list of {"name", "main", "frames": [[function, file, line], ...]}, innermost frame first. A dump
may be of any version, cut off anywhere, or another program's.
"""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, Optional

Thread = Dict[str, Any]

# As faulthandler has them:
MAX_THREADS = 100
MAX_FRAMES = 100  # of each thread
_MAX_NAME = 500  # characters

# Python 3.14 adds a name: `Thread 0x00007f (most recent call first)` or `Thread 0x00007f [name] (most ...`.
_THREAD = re.compile(
    r"(?:Current thread|Thread) 0x[0-9a-fA-F]+(?: \[(.*)\])? \(most recent call first\):\Z"
)
_FRAME = re.compile(r'  File (?:"(.*)"|\?\?\?), line ([0-9]{1,9}|\?\?\?) in (.*)\Z')
_MAIN = "MainThread"


def read_dump(text: str) -> List[Thread]:
    """Return the threads that faulthandler printed.

    The oldest thread, which is the main one, is the last, unless there were too many (`...`).
    """
    threads: List[Thread] = []
    is_cut = False
    for line in text.splitlines():
        header = _THREAD.match(line)
        if header is not None:
            threads.append({"name": _short(header.group(1) or ""), "main": False, "frames": []})
            continue
        frame = _FRAME.match(line)
        if frame is not None and threads:
            path, number, function = frame.groups()
            if len(threads[-1]["frames"]) < MAX_FRAMES:
                line_number = int(number) if number.isdigit() else 0
                threads[-1]["frames"].append([_short(function), _short(path or "???"), line_number])
        elif line == "...":
            is_cut = True
    if threads and not is_cut:
        threads[-1].update(main=True, name=threads[-1]["name"] or _MAIN)
    return threads[-MAX_THREADS:]


def read_spy(text: str, pid: int) -> Optional[List[Thread]]:
    """Return the threads of process `pid` that `py-spy dump --json` printed; None for any other output."""
    try:
        threads = [
            {
                "name": _short(str(thread["thread_name"] or "")),
                "main": thread["os_thread_id"] == pid,
                "frames": [
                    # Newer versions print `Loader.get`, where faulthandler prints `get`.
                    [_short(_text(frame["name"]).rpartition(".")[2]), _short(_text(frame["filename"])),
                     _line(frame["line"])]
                    for frame in thread["frames"][:MAX_FRAMES]
                ],
            }
            for thread in json.loads(text)
        ]  # fmt: skip
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return threads[-MAX_THREADS:]


def _short(text: str) -> str:
    return text if len(text) <= _MAX_NAME else text[:_MAX_NAME] + "..."


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text: {!r:.40}".format(value))
    return value


def _line(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value < 1 << 31 else 0
