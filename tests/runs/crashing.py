"""Crash this process at its N-th step in a run's folder: a prelude for `Warm.run`.

A step changes something below a folder called `runs`: it creates a file or folder, writes, renames or
truncates. Step number ORCH_CRASH_STEP (from 0) is a crash instead, with exit code 9; a write is half done
then. The file ORCH_CRASH_TRACE gets a line for each step.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

_last = int(os.environ["ORCH_CRASH_STEP"])
_trace = os.open(os.environ["ORCH_CRASH_TRACE"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
_count = 0
_write = os.write


def _step(what: str, path: str, half: Callable[[], object] = lambda: None) -> None:
    global _count
    if "/runs/" in path:
        _write(_trace, f"{what} {path.rpartition('/runs/')[2]}\n".encode())
        if _count == _last:
            half()
            os._exit(9)
        _count += 1


def _name(descriptor: int) -> str:
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


class _Raw(io.FileIO):
    def write(self, data: Any) -> int:
        _step(
            "write", _name(self.fileno()), lambda: super(_Raw, self).write(data[: len(data) // 2])
        )
        return super().write(data)


def _wrap(name: str, step: Callable[..., None]) -> None:
    original = getattr(os, name)

    def stepping(*words: Any, **more: Any) -> Any:
        step(original, *words, **more)
        return original(*words, **more)

    setattr(os, name, stepping)


def _opening(_: object, path: Any, flags: int, *rest: Any, **more: Any) -> None:
    if flags & os.O_CREAT and not Path(path).exists():
        _step("create", str(path))


def _making(_: object, path: Any, *rest: Any, **more: Any) -> None:
    if not Path(path).exists():
        _step("mkdir", str(path))


def _writing(write: Any, descriptor: int, data: Any, *rest: int) -> None:
    _step(
        "write", _name(descriptor), lambda: write(descriptor, bytes(data)[: len(data) // 2], *rest)
    )


def _fdopen(descriptor: int, mode: str = "r", **more: Any) -> Any:
    if "r" in mode:
        return open(descriptor, mode, **more)
    assert "b" not in mode
    return io.TextIOWrapper(io.BufferedWriter(_Raw(descriptor, mode)), **more)


_wrap("open", _opening)
_wrap("write", _writing)
_wrap("pwrite", _writing)
_wrap("mkdir", _making)
_wrap("replace", lambda _, old, new: _step("rename", str(new)))
_wrap("rename", lambda _, old, new: _step("rename", str(new)))
_wrap("unlink", lambda _, path, **more: _step("unlink", str(path)))
_wrap("ftruncate", lambda _, descriptor, length: _step("truncate", _name(descriptor)))
setattr(os, "fdopen", _fdopen)  # noqa: B010 - mypy knows better what it is
