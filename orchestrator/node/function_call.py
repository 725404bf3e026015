"""The call of a function, in the folder of a run on this node, and what its ranks returned.

`call/` there has the program that the launcher runs as the script of each rank, which is `function.py`, and
the files of the call, which come from the controller. A rank writes `rank-N.result` beside its logs.
"""

from __future__ import annotations

import base64
import os
import re
from typing import Any, Dict, List

from . import files

FOLDER = "call"
PROGRAM = "function.py"
"""The names below the folder of a run on a node; the plan has them in command lines."""
MARK = "ORCH_FUNCTION"
"""The variable that the processes of a function launch have."""

_SCRIPT = b"""\
import os as _os
import sys as _sys

_folder = _os.path.dirname(_os.path.abspath(__file__))
_sys.path.insert(0, _os.path.join(_folder, "code.zip"))
import function_rank as _rank

del _sys.path[0], _sys.modules["function_rank"]
if __name__ == "__main__":
    _rank.main(_folder, globals())
elif __name__ == "__mp_main__":
    _rank.restore(_folder, globals())
"""
_NAMES = frozenset(("call.json", "call.pickle", "code.zip"))
_RESULT = re.compile(r"rank-(0|[1-9][0-9]{0,6})\.result\Z")
_MAX_INLINE = 1 << 19  # bytes that are sent with the list of results


def result_into(environment: Dict[str, str], base: str) -> None:
    """Tell a rank of a function launch where its result belongs; `base` is that of its logs."""
    if MARK in environment:
        environment["ORCH_RESULT"] = base + ".result"


def put_call(run: str, node: str, name: str, offset: int, data: str) -> None:
    """Write base64 `data` at `offset` of a file of the call; the first piece makes a new file."""
    if name not in _NAMES:
        raise ValueError("not a file of a call: {!r}".format(name))
    directory = files.run_directory(run, node)
    files.make_folder(directory)
    folder = os.path.join(directory, FOLDER)
    files.remake_folder(folder)
    path = os.path.join(folder, name)
    if offset == 0:
        files.replace_file(os.path.join(folder, PROGRAM), _SCRIPT)
        os.close(files.create(path))
    with os.fdopen(files.open_file(path, os.O_WRONLY | os.O_APPEND), "ab") as file:
        if file.tell() != offset:
            raise ValueError("{} has {} bytes, not {}".format(name, file.tell(), offset))
        file.write(base64.b64decode(data))


def list_results(run: str, node: str) -> List[Any]:
    """Return [[rank, size, data | null]] of the latest attempt: small results as base64 at once."""
    directory = files.run_directory(run, node)
    found: List[Any] = []
    inline = 0
    for attempt in files.attempts(directory, 0)[-1:]:
        folder = files.attempt_folder(directory, attempt)
        for name in sorted(os.listdir(folder)):
            match = _RESULT.match(name)
            if match is None:
                continue
            with os.fdopen(files.open_file(os.path.join(folder, name)), "rb") as file:
                size = os.fstat(file.fileno()).st_size
                data = None
                if inline + size <= _MAX_INLINE:
                    inline += size
                    data = base64.b64encode(file.read(size)).decode("ascii")
            found.append([int(match.group(1)), size, data])
    return found


def read_result(run: str, node: str, rank: int, offset: int, length: int) -> str:
    """Return `length` bytes from `offset` of a rank's result in the latest attempt, as base64."""
    directory = files.run_directory(run, node)
    attempt = files.attempts(directory, 0)[-1]
    path = os.path.join(files.attempt_folder(directory, attempt), "rank-{:d}.result".format(rank))
    with os.fdopen(files.open_file(path), "rb") as file:
        file.seek(offset)
        return base64.b64encode(file.read(length)).decode("ascii")
