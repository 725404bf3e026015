"""Find the files in its working folder that a script may read, which an earlier run may have left."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

# Other strings are formats, messages, names of folders.
_NAME = re.compile(r"[\w.+@=,/-]{1,200}")
_SUFFIX = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,11}")
_READS = frozenset({"load", "exists", "isfile", "is_file", "open", "read_bytes", "load_from_checkpoint",
                    "load_file", "load_state", "load_checkpoint", "from_checkpoint"})  # fmt: skip
_WRITES = re.compile(r"save|dump|write|to_csv|export", re.IGNORECASE)
_MAX_NAMES = 200


def opened_files(source: str, arguments: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the relative paths of files that a script, or its arguments, may read.

    Arguments of calls that write are left out; a script without a call that reads opens none. If the script
    is not Python, only its arguments are searched.
    """
    found = dict.fromkeys(_of_arguments(arguments))
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return tuple(found)[:_MAX_NAMES]
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    if not any(_reads(call) for call in calls):
        return ()
    written = {
        id(argument) for call in calls if _writes(call)
        for argument in (*call.args, *(keyword.value for keyword in call.keywords))
    }  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in written and _is_file(node.value):
            found[str(node.value)] = None
    return tuple(name for name in found if not name.endswith((".py", ".so")))[:_MAX_NAMES]


def _of_arguments(arguments: Sequence[str]) -> Iterator[str]:
    for word in arguments:
        value = word.partition("=")[2] if word.startswith("--") and "=" in word else word
        if _is_file(value):
            yield value


def _is_file(value: object) -> bool:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        return False
    parts = value.split("/")
    stem, dot, ending = parts[-1].rpartition(".")
    is_below = not {"", ".", ".."}.intersection(parts)
    return is_below and bool(stem and dot) and bool(_SUFFIX.fullmatch(ending))


def _called(call: ast.Call) -> str:
    return str(getattr(call.func, "attr", getattr(call.func, "id", "")))


def _reads(call: ast.Call) -> bool:
    return _called(call) in _READS and not _writes(call)


def _writes(call: ast.Call) -> bool:
    """Tell whether a call writes the file that it is given."""
    name = _called(call)
    if name != "open":
        return bool(_WRITES.search(name))
    modes = [*call.args[1:2], *(each.value for each in call.keywords if each.arg == "mode")]
    return any(
        isinstance(mode, ast.Constant)
        and isinstance(mode.value, str)
        and set("wax") & set(mode.value)
        for mode in modes
    )
