"""Read what faulthandler and py-spy print of a process's threads: pure.

Both come to the same, a list of {"name", "main", "frames": [[function, file, line], ...]}, innermost frame
first. A dump may be of any version, cut off anywhere, or another program's.
"""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, Optional

Thread = Dict[str, Any]

MOST_THREADS = 100  # as many as faulthandler prints
MOST_FRAMES = 100  # likewise, of each
_LONGEST = 500  # characters of a name, likewise

# Python 3.14 adds a name: `Thread 0x00007f (most recent call first)` or `Thread 0x00007f [name] (most ...`.
_THREAD = re.compile(
    r"(?:Current thread|Thread) 0x[0-9a-fA-F]+(?: \[(.*)\])? \(most recent call first\):\Z"
)
_FRAME = re.compile(r'  File (?:"(.*)"|\?\?\?), line ([0-9]{1,9}|\?\?\?) in (.*)\Z')
_MAIN = "MainThread"


def read_dump(text: str) -> List[Thread]:
    """Return the threads of what faulthandler printed.

    The oldest thread, which is the main one, comes last, unless there were too many (`...`).
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
            if len(threads[-1]["frames"]) < MOST_FRAMES:
                line_number = int(number) if number.isdigit() else 0
                threads[-1]["frames"].append([_short(function), _short(path or "???"), line_number])
        elif line == "...":
            is_cut = True
    if threads and not is_cut:
        threads[-1].update(main=True, name=threads[-1]["name"] or _MAIN)
    return _few(threads)


def read_spy(text: str, pid: int) -> Optional[List[Thread]]:
    """Return the threads of process `pid` in what `py-spy dump --json` printed; None if it is not that."""
    try:
        threads = [
            {
                "name": _short(str(said["thread_name"] or "")),
                "main": said["os_thread_id"] == pid,
                "frames": [
                    # Newer ones say `Loader.get`, where faulthandler says `get`.
                    [_short(_word(frame["name"]).rpartition(".")[2]), _short(_word(frame["filename"])),
                     _line(frame["line"])]
                    for frame in said["frames"][:MOST_FRAMES]
                ],
            }
            for said in json.loads(text)
        ]  # fmt: skip
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return _few(threads)


def _few(threads: List[Thread]) -> List[Thread]:
    return threads[-MOST_THREADS:]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def _word(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text: {!r:.40}".format(value))
    return value


def _line(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value < 1 << 31 else 0
