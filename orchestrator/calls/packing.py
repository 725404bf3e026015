"""Pack a call of a function into files for the nodes.

Code of `__main__`, of a notebook, lambdas and closures travel as bytecode (cloudpickle), code of modules by
name: those of the project are copied to the nodes as for a script, others must be installed there.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import io
import json
import linecache
import marshal
import os
import sys
import textwrap
import types
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import cloudpickle

from orchestrator.errors import UsageError
from orchestrator.util.text import escaped, first_line

MAX_CALL = 1 << 30  # bytes of the function with its arguments
_MAX_SOURCES = 4 << 20  # characters of source that travel for tracebacks
_OWN = __name__.partition(".")[0]
_SCRIPT = "script.py"


@dataclass(frozen=True)
class PackedCall:
    """A call, ready to be written: `name` is the function's, `python` the version that its code needs
    (None: any). `files` go to the nodes; `script` shows the preflight what the function imports.
    """

    name: str
    python: str | None
    files: Mapping[str, bytes] = field(repr=False)
    script: str = field(repr=False)

    def write(self, folder: Path) -> None:
        """Write the files into an empty folder, for the owner only."""
        for name, data in {**self.files, _SCRIPT: self.script.encode("utf-8", "replace")}.items():
            descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)


def files_of(folder: Path) -> list[Path]:
    """Return the files of a call that go to the nodes, the description last."""
    return [folder / name for name in ("code.zip", "call.pickle", "call.json")]


def script_of(folder: Path) -> Path:
    """Return the file that stands for the function's script."""
    return folder / _SCRIPT


def name_of(function: Callable[..., Any]) -> str:
    """Return a short name of a function, for people."""
    inner = _unwrapped(function)
    name = getattr(inner, "__name__", type(inner).__name__)
    return "lambda" if name == "<lambda>" else str(name)


def pack(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    source: Path | None,
    cwd: Path,
    trust: bool,
) -> PackedCall:
    """Pack `function(*args, **kwargs)`.

    Ranks start in the copy of `cwd`, in that of `source` (None: nothing is copied). With `trust`, results
    are pickled.

    Raises UsageError if the call cannot be pickled, or is too large.
    """
    name = name_of(function)
    if not callable(function):
        raise UsageError(f"expected a function, found {type(function).__name__}")
    buffer = io.BytesIO()
    pickler = _Pickler(buffer)
    try:
        pickler.dump((function, tuple(args), dict(kwargs)))
    except Exception as error:  # whatever the __reduce__ of an argument raises
        raise UsageError(
            f"{name}() cannot be sent to the nodes: {escaped(first_line(str(error)) or repr(error))}",
            remedy="create what cannot be pickled (locks, open files, connections, generators) inside the "
            "function",
        ) from error
    size = buffer.tell()
    if size > MAX_CALL:
        raise UsageError(
            f"{name}() and its arguments have {size >> 20:,} MiB, more than {MAX_CALL >> 20:,} MiB",
            remedy="put the data into a file of the project, or where the nodes read it, and pass its path",
        )
    python = f"{sys.version_info[0]}.{sys.version_info[1]}" if pickler.by_value else None
    said = {
        "name": name,
        "python_version": python,
        "path": _import_path(source, cwd),
        "sources": _sources(pickler.by_value),
        "trust": trust,
    }
    files = {
        "call.json": json.dumps(said).encode(),
        "call.pickle": buffer.getvalue(),
        "code.zip": _code(),
    }
    return PackedCall(name, python, files, _script(function, name, pickler))


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    """Notes which functions and classes travel by value, and which modules are imported by name."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self.by_value: list[Any] = []
        self.modules: dict[str, None] = {}

    def reducer_override(self, obj: Any) -> Any:
        how = super().reducer_override(obj)
        if isinstance(obj, types.ModuleType):
            self.modules[obj.__name__] = None
        elif isinstance(obj, types.FunctionType | type):
            if how is NotImplemented:
                self.modules[obj.__module__] = None
            else:
                self.by_value.append(obj)
        else:
            self.modules[type(obj).__module__] = None
        return how


def _unwrapped(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _import_path(source: Path | None, cwd: Path) -> list[str]:
    """Return the folders of the project on this machine's sys.path, relative to the ranks' folder."""
    if source is None:
        return ["."]
    root, here = source.resolve(), cwd.resolve()
    prefixes = {Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()}
    found = []
    for entry in sys.path:
        folder = Path(entry or ".").resolve()
        is_ours = folder.is_dir() and folder.is_relative_to(root)
        if is_ours and not any(folder.is_relative_to(prefix) for prefix in prefixes):
            found.append(os.path.relpath(folder, here))
    return list(dict.fromkeys([*found, "."]))


def _sources(objects: Iterable[Any]) -> dict[str, str]:
    """Return the source of the files whose code travels by value, for tracebacks on the nodes."""
    found: dict[str, str] = {}
    left = _MAX_SOURCES
    for each in objects:
        if isinstance(each, types.FunctionType) and each.__code__.co_filename not in found:
            text = "".join(linecache.getlines(each.__code__.co_filename, each.__globals__))
            if 0 < len(text) <= left:
                found[each.__code__.co_filename] = text
                left -= len(text)
    return found


@functools.cache
def _code() -> bytes:
    """Return an archive of what a rank runs to load the call: cloudpickle, and orch's own part.

    It is compiled, too: that saves a Python of this version half of the time that loading takes.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in resources.files("cloudpickle").iterdir():
            if entry.name.endswith(".py"):
                _add(archive, f"cloudpickle/{entry.name}", entry.read_bytes())
        for name in ("function_rank.py", "value_writer.py"):
            source = resources.files("orchestrator.node").joinpath(name)
            _add(archive, name, source.read_bytes())
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, name: str, source: bytes) -> None:
    archive.writestr(name, source)
    code = marshal.dumps(compile(source, f"<orch>/{name}", "exec"))
    # PEP 552: valid whatever the source file's time is; Python takes the source if the version is another.
    head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little")
    archive.writestr(f"{name}c", head + importlib.util.source_hash(source) + code)


def _script(function: Callable[..., Any], name: str, pickler: _Pickler) -> str:
    """Return a script that imports what the ranks import, and has the function's text if it is known.

    It is never run: the preflight reads it.
    """
    left_out = {"__main__", "builtins", "cloudpickle", _OWN, *sys.stdlib_module_names}
    modules = sorted(
        each for each in pickler.modules if each and each.partition(".")[0] not in left_out
    )
    lines = [
        f"import {module}" for module in modules if all(map(str.isidentifier, module.split(".")))
    ]
    inner = _unwrapped(function)
    if name == "lambda":  # its source is all of the statement
        return "\n".join([*lines, ""])
    try:
        text = textwrap.dedent(inspect.getsource(inner))
        lines += [text.rstrip(), f"{name}()"]
        compile(text, name, "exec")
    except (OSError, TypeError, SyntaxError, ValueError):
        lines = lines[: len(modules)]  # of a console, or the middle of an expression
    return "\n".join([*lines, ""])
