"""Files that a job names and that exist here, but are not sent to the nodes."""

from __future__ import annotations

import ast
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import SyncError
from orchestrator.sync.largest import is_output
from orchestrator.sync.left_out import why_left_out
from orchestrator.sync.refused import why_refused
from orchestrator.util.quoting import line_to_paste
from orchestrator.util.text import printable

_MAX_PATH = 1000  # characters
_MAX_SCRIPT = 1 << 20
_MAX_TEXTS = 2000  # string constants of a script to look up as paths
# Functions that create the path that they are called with.
_CREATORS = frozenset(
    {
        "makedirs", "mkdir", "save", "savefig", "dump", "to_csv", "write_text", "write_bytes",
        "SummaryWriter", "TensorBoardLogger", "CSVLogger", "ModelCheckpoint", "getenv", "get",
        "add_argument_group", "import_module",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Unsent:
    """Why a path that a job names exists here but not on the nodes, and how to fix it."""

    cause: str
    fix: str


def why_unsent(source: Path, start: Path, path: str) -> Unsent | None:
    """Return why `path` is not sent to the nodes; None if it is, or does not exist here either.

    `source` is the folder that is sent, `start` the folder in it that `path` is relative to; both absolute.
    """
    if not path or len(path) > _MAX_PATH or "\0" in path:
        return None
    here = Path(os.path.normpath(start / path))  # as open() in the script would find it there
    if not os.path.lexists(here):
        return None
    shown = printable(path)
    if not here.is_relative_to(source):
        return _outside(source, here, path)
    if os.path.isabs(path):  # noqa: PTH117
        below = here.relative_to(source).as_posix()
        cause = f"{shown} is a path of this machine, and the folder is elsewhere on the nodes"
        return Unsent(cause, f"write it relative to the folder: {printable(below)}")
    try:
        reason = why_left_out(source, here.relative_to(source).as_posix())
    except SyncError:
        return None  # the push reports it
    if reason is None:
        return None
    cause = f"{shown} is here but not sent to the nodes, {reason.reason(source)}"
    return Unsent(cause, reason.remedy(source))


def unsent_arguments(
    source: Path, start: Path, cwd: Path, words: Sequence[str]
) -> Iterator[Unsent]:
    """Yield the arguments that are paths of files in `cwd` that are not on the nodes.

    `start` is the folder in `source` in which the job starts.
    """
    for word in words:
        for text in dict.fromkeys((word, word.partition("=")[2])):
            if not text or len(text) > _MAX_PATH or "\0" in text or is_output(text):
                continue
            is_absolute = os.path.isabs(text)  # noqa: PTH117
            found = None
            if Path(text).is_relative_to(source) if is_absolute else cwd == start:
                found = why_unsent(source, start, text)
            elif (
                not is_absolute
                and os.path.lexists(cwd / text)
                and not os.path.lexists(start / text)
            ):
                found = _outside(source, Path(os.path.normpath(cwd / text)), text)
            if found is not None:
                yield Unsent(f"the argument {found.cause}", found.fix)
                break


def unsent_in_script(source: Path, start: Path, script: Path) -> Iterator[Unsent]:
    """Yield the relative paths in string constants of a script that exist here and are not sent.

    Yields nothing for a script that cannot be read.
    """
    reported: set[str] = set()
    for text, line in _texts(script):
        if text in reported or os.path.isabs(text) or is_output(text) or not text.strip("./"):  # noqa: PTH117
            continue
        # It may be relative to either folder; report it only if neither file is sent.
        folders = [f for f in dict.fromkeys((start, script.parent)) if os.path.lexists(f / text)]
        found = [why_unsent(source, folder, text) for folder in folders]
        if found and found[0] is not None and None not in found:
            reported.add(text)
            yield Unsent(f"{printable(script.name)}:{line}: {found[0].cause}", found[0].fix)


def _texts(script: Path) -> Iterator[tuple[str, int]]:
    """Yield the text and line of string constants that may be paths that the script reads."""
    try:
        with script.open(encoding="utf-8-sig", errors="replace") as file:
            text = file.read(_MAX_SCRIPT)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in strings
            tree = ast.parse(text)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return  # the check sw.script reports it
    created = {part for node in ast.walk(tree) if _creates(node) for part in ast.walk(node)}
    passed = {
        value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for value in (*node.args, *(keyword.value for keyword in node.keywords))
    }
    count = 0
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)) or node in created:
            continue
        text = node.value
        is_path = "/" in text or "." in text.strip(".") or node in passed
        if text and is_path and len(text) <= _MAX_PATH and text.isprintable():
            count += 1
            if count > _MAX_TEXTS:
                return
            yield text, node.lineno


def _creates(node: ast.AST) -> bool:
    """Tell whether a call writes or downloads the file at the path that it is called with."""
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    if name in _CREATORS or "download" in given:
        return True
    mode = given.get("mode", node.args[1] if len(node.args) > 1 else None)
    is_text = isinstance(mode, ast.Constant) and isinstance(mode.value, str)
    return name == "open" and is_text and not set("wax").isdisjoint(mode.value)  # type: ignore[union-attr]


def _outside(source: Path, here: Path, path: str) -> Unsent:
    cause = f"{printable(path)} is here, outside {_tilde(source)}, the folder that is sent"
    return Unsent(cause, _wider(source, here))


def _wider(source: Path, here: Path) -> str:
    """Return how to send a folder that contains both."""
    folder = Path(os.path.commonpath((source, here if here.is_dir() else here.parent)))
    if why_refused(folder) is not None:
        return f"copy it into {_tilde(source)}, or to the nodes yourself"
    try:
        typed = os.path.relpath(folder)
    except OSError:  # the current folder is gone
        typed = str(folder)
    return f"launch with --sync {line_to_paste([typed])}, which contains both"


def _tilde(path: Path) -> str:
    home = os.path.expanduser("~")  # noqa: PTH111
    text = str(path)
    return printable(f"~{text[len(home) :]}" if text.startswith(f"{home}/") else text)
