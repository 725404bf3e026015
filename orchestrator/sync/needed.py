"""Which of the files that a job names exist here and do not go to the nodes."""

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

_LONGEST_PATH = 1000
_LONGEST_SCRIPT = 1 << 20
_MOST = 2000  # texts of a script that are compared with what is there
# What such calls are given is made by them.
_MAKERS = frozenset(
    {
        "makedirs", "mkdir", "save", "savefig", "dump", "to_csv", "write_text", "write_bytes",
        "SummaryWriter", "TensorBoardLogger", "CSVLogger", "ModelCheckpoint", "getenv", "get",
        "add_argument_group", "import_module",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Staying:
    """A path that a job names, that exists here and not on the nodes: why, and what to do."""

    cause: str
    fix: str


def why_staying(source: Path, start: Path, path: str) -> Staying | None:
    """Return why what is at `path` here is not on the nodes; None if it goes, or is not here either.

    `source` is the folder that goes, `start` the one in it in which `path` is looked up; both absolute.
    """
    if not path or len(path) > _LONGEST_PATH or "\0" in path:
        return None
    here = Path(os.path.normpath(start / path))  # as the script's own open() would find it there
    if not os.path.lexists(here):
        return None
    shown = printable(path)
    if not here.is_relative_to(source):
        return _outside(source, here, path)
    if os.path.isabs(path):  # noqa: PTH117
        below = here.relative_to(source).as_posix()
        return Staying(f"{shown} is a path of this machine, and the folder is elsewhere on the nodes",
                       f"write it relative to the folder: {printable(below)}")  # fmt: skip
    try:
        reason = why_left_out(source, here.relative_to(source).as_posix())
    except SyncError:
        return None  # the push tells of it
    if reason is None:
        return None
    return Staying(f"{shown} is here and does not go to the nodes, {reason.reason(source)}",
                   reason.remedy(source))  # fmt: skip


def named_in_arguments(
    source: Path, start: Path, cwd: Path, words: Sequence[str]
) -> Iterator[Staying]:
    """Yield, of the arguments that name what exists in `cwd`, those that will name nothing on the nodes.

    `start` is the folder in `source` in which the job starts.
    """
    for word in words:
        for text in dict.fromkeys((word, word.partition("=")[2])):
            if not text or len(text) > _LONGEST_PATH or "\0" in text or is_output(text):
                continue
            if os.path.isabs(text):  # noqa: PTH117
                found = (
                    why_staying(source, start, text) if Path(text).is_relative_to(source) else None
                )
            elif cwd == start:
                found = why_staying(source, start, text)
            elif os.path.lexists(cwd / text) and not os.path.lexists(start / text):
                found = _outside(source, Path(os.path.normpath(cwd / text)), text)
            else:
                found = None
            if found is not None:
                yield Staying(f"the argument {found.cause}", found.fix)
                break


def named_in_script(source: Path, start: Path, script: Path) -> Iterator[Staying]:
    """Yield what a script names as a text, by a relative path, that exists here and does not go.

    Nothing of a script that cannot be read.
    """
    told: set[str] = set()
    for text, line in _texts(script):
        if text in told or os.path.isabs(text) or is_output(text) or not text.strip("./"):  # noqa: PTH117
            continue
        # It may be meant below either, and nothing is said where one of them has it on the nodes.
        folders = [f for f in dict.fromkeys((start, script.parent)) if os.path.lexists(f / text)]
        found = [why_staying(source, folder, text) for folder in folders]
        if found and found[0] is not None and None not in found:
            told.add(text)
            yield Staying(f"{printable(script.name)}:{line}: {found[0].cause}", found[0].fix)


def _texts(script: Path) -> Iterator[tuple[str, int]]:
    """Yield (text, line) of what looks like the path of something that the script reads."""
    try:
        with script.open(encoding="utf-8-sig", errors="replace") as file:
            text = file.read(_LONGEST_SCRIPT)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in strings: the script's own affair
            tree = ast.parse(text)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return  # sw.script tells of it
    made = {part for node in ast.walk(tree) if _makes(node) for part in ast.walk(node)}
    passed = {
        value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for value in (*node.args, *(keyword.value for keyword in node.keywords))
    }
    count = 0
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)) or node in made:
            continue
        text = node.value
        is_path = "/" in text or "." in text.strip(".") or node in passed
        if text and is_path and len(text) <= _LONGEST_PATH and text.isprintable():
            count += 1
            if count > _MOST:
                return
            yield text, node.lineno


def _makes(node: ast.AST) -> bool:
    """Whether a call writes, or downloads, what it is given the path of."""
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    if name in _MAKERS or "download" in given:
        return True
    mode = given.get("mode", node.args[1] if len(node.args) > 1 else None)
    is_text = isinstance(mode, ast.Constant) and isinstance(mode.value, str)
    return name == "open" and is_text and not set("wax").isdisjoint(mode.value)  # type: ignore[union-attr]


def _outside(source: Path, here: Path, path: str) -> Staying:
    cause = (
        f"{printable(path)} is here, outside {_tilde(source)}, the folder that goes to the nodes"
    )
    return Staying(cause, _wider(source, here))


def _wider(source: Path, here: Path) -> str:
    """Return how to send a folder that has both."""
    folder = Path(os.path.commonpath((source, here if here.is_dir() else here.parent)))
    if why_refused(folder) is not None:
        return f"copy it into {_tilde(source)}, or bring it to the nodes yourself"
    try:
        typed = os.path.relpath(folder)
    except OSError:  # the current folder is gone
        typed = str(folder)
    return f"launch with --sync {line_to_paste([typed])}, which has both"


def _tilde(path: Path) -> str:
    home = os.path.expanduser("~")  # noqa: PTH111
    text = str(path)
    return printable(f"~{text[len(home) :]}" if text.startswith(f"{home}/") else text)
