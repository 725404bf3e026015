"""Determine what SCRIPT is: Python code, a program, or a file that cannot be launched."""

from __future__ import annotations

import ast
import shlex
import warnings
from pathlib import Path, PurePosixPath

from orchestrator.api.other_launchers import launcher_in
from orchestrator.errors import UsageError
from orchestrator.plan.launchers.base import Launcher
from orchestrator.util.text import escaped

_PYTHON_SUFFIXES = {".py", ".pyw", ".pyc", ".pyz"}
_SHELL_SUFFIXES = {".sh", ".bash", ".zsh", ".ksh", ".csh", ".fish"}
_ELF = b"\x7fELF"
_ZIP = b"PK"  # Python runs a zip archive that has a __main__.py
_HEAD = 4096  # bytes; Linux reads 256 of a #! line
_MAX_READ = 1 << 20  # bytes read to find out what a file is


def is_program(script: Path) -> bool:
    """Tell whether the file `script` is a program, not started by the nodes' Python.

    A Python suffix decides, otherwise the start of the file. Raises UsageError if it is neither, or a
    program that Linux would not start; OSError if it cannot be read.
    """
    refuse_notebook(script)
    if script.suffix in _PYTHON_SUFFIXES:
        return False
    with script.open("rb") as file:
        head = file.read(_HEAD)
        if head.startswith(_ZIP) or _is_python_line(head):
            return False
        if head.startswith((b"#!", _ELF)):
            check_program(script)
            return True
        text = (head + file.read(_MAX_READ - len(head))).decode("utf-8-sig", errors="replace")
    if script.suffix in _SHELL_SUFFIXES:
        raise _no_interpreter(script)
    if text.strip() and not _does_something(text):
        raise UsageError(
            f"{escaped(str(script))} is neither Python code nor a program",
            remedy="launch the script that reads it, as in: orch launch train.py "
            + escaped(shlex.quote(str(script))),
        )
    return False


def check_program(script: Path) -> None:
    """Raise UsageError unless Linux would start the file `script`; OSError if it cannot be read."""
    name = escaped(str(script))
    with script.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith(b"#!"):
        if head.partition(b"\n")[0].endswith(b"\r"):
            raise UsageError(
                f"{name} has Windows line endings: Linux finds no interpreter of that name",
                remedy=f"convert it: sed -i 's/\\r$//' {escaped(shlex.quote(str(script)))}",
            )
    elif not head.startswith(_ELF):
        raise _no_interpreter(script)
    if not script.stat().st_mode & 0o111:
        raise UsageError(
            f"{name} is a program, but is not executable",
            remedy=f"chmod +x {escaped(shlex.quote(str(script)))}",
        )


def check_started_once(program: Path, launcher: Launcher) -> None:
    """Raise UsageError if a shell script that starts ranks itself would be started for every rank."""
    if launcher.once_per_node or launcher.runs_once:
        return
    with program.open("rb") as file:
        text = file.read(_MAX_READ)
    if not text.startswith(b"#!"):
        return
    for number, line in enumerate(text.decode(errors="replace").splitlines(), 1):
        other = launcher_in(line)
        if other is not None:
            raise UsageError(
                f"{escaped(str(program))}:{number} runs {other}, which starts ranks itself; "
                f"{launcher.name} would start that for every rank",
                remedy="launch the Python script itself (orch launch train.py), or start the program once "
                "per node with --launcher python",
            )


def is_shell_script(name: str) -> bool:
    """Tell whether a file that is only on the nodes is named like a shell script."""
    return PurePosixPath(name).suffix in _SHELL_SUFFIXES


def refuse_notebook(script: Path) -> None:
    """Raise UsageError if `script` is named like a notebook."""
    if script.suffix != ".ipynb":
        return
    notebook, converted = (
        escaped(shlex.quote(str(path))) for path in (script, script.with_suffix(".py"))
    )
    raise UsageError(
        f"{escaped(str(script))} is a notebook, which Python does not run",
        remedy=f"convert it to a script: jupyter nbconvert --to script {notebook}; "
        f"then: orch launch {converted}",
    )


def _no_interpreter(script: Path) -> UsageError:
    name = escaped(str(script))
    return UsageError(
        f"{name} has no interpreter in its first line, so Linux cannot start it",
        remedy="make its first line #!/bin/bash, or another interpreter",
    )


def _is_python_line(head: bytes) -> bool:
    """Tell whether a #! line runs the file with Python."""
    if not head.startswith(b"#!"):
        return False
    words = head[2:].partition(b"\n")[0].decode(errors="replace").split()
    names = [PurePosixPath(word).name for word in words]
    if names[:1] == ["env"]:
        names = [name for name in names[1:] if not name.startswith("-") and "=" not in name]
    return bool(names) and names[0].rstrip("0123456789.") in ("python", "pypy")


def _does_something(text: str) -> bool:
    """Tell whether a text is Python code that does something, unlike JSON and some YAML."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as invalid escapes in the script's strings
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(isinstance(node, ast.Call | ast.Import | ast.ImportFrom) for node in ast.walk(tree))
