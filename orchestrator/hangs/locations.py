"""Where a rank is, in a few words, and many ranks on one line: pure.

`all_reduce (train.py:88)` is the call that the user's own code makes at that line. Ranks at the same place
are told together: `r[0-62] all_reduce (train.py:88) · r63 next(loader) (data.py:40)`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.hangs.snapshot import Frame
from orchestrator.util.numbers import folded

# Code that is not the user's: installed packages, the standard library, code that has no file.
_LIBRARY = re.compile(r"/(?:site|dist)-packages/|/lib(?:64)?/python[0-9.]+/|^<(?!stdin>)")
# What every other package is called through; its own calls say nothing of where a rank is.
_PLUMBING = re.compile(
    r"/torch/|/lightning[a-z_]*/|/pytorch_lightning/|/lib(?:64)?/python[0-9.]+/(?!(?:site|dist)-packages/)"
    r"|^<(?!stdin>)"
)
# Decorators and entries, behind which the name that a person knows follows.
_WRAPPERS = {"wrapper", "_fn", "inner", "decorate_context", "wrapped", "__call__", "_call_impl",
             "_wrapped_call_impl"}  # fmt: skip

# Calls in which a rank waits for others. The names are torch.distributed's (public and of its parts).
_WAITS = re.compile(
    r"(?:all_reduce|all_gather|reduce_scatter|all_to_all|broadcast|barrier|gather|scatter|send|recv"
    r"|batch_isend_irecv|init_process_group|new_group|_?rendezvous|reduce|_store_based_barrier"
    r"|destroy_process_group|init_device_mesh|monitored_barrier)(?:_.*)?\Z"
)
_WAITS_IN = re.compile(r"/torch/distributed/|/torch/nn/parallel/")
# The engine of autograd, in which DDP's hooks reduce gradients: Python sees no call of torch.distributed.
_ENGINE_IN, _ENGINE = "/torch/autograd/", "_engine_run_backward"
# Where torch.utils.cpp_extension waits for whoever compiles the extension.
_LOCK_IN, _LOCK = "/torch/utils/file_baton.py", "wait"


@dataclass(frozen=True)
class Location:
    """The `call` that is being made in `line` of `file` (base name; empty where it is not known).

    `is_wait` is whether the call is one in which ranks wait for each other, `may_be_wait` whether they do
    in it as a rule, beside work of its own. `is_locked`: it waits for the lock of a compiled extension.
    """

    call: str
    file: str
    line: int
    is_wait: bool
    may_be_wait: bool = False
    is_locked: bool = False

    def __str__(self) -> str:
        return f"{self.call} ({self.file}:{self.line})" if self.file else self.call


def location_of(stack: Sequence[Frame]) -> Location | None:
    """Return where a thread with these frames (innermost first) is; None where it has none."""
    if not stack:
        return None
    user = _find(stack, _LIBRARY)
    if user is None:
        user = _find(stack, _PLUMBING)
    if user is None:
        user = 0
    own = stack[user]
    called = [frame for frame in reversed(stack[:user]) if frame.function not in _WRAPPERS]
    name = _name(called[0]) if called else own.function
    is_wait = any(
        _WAITS_IN.search(frame.file) and _WAITS.match(frame.function) for frame in stack[:user]
    )
    return Location(
        name,
        posixpath.basename(own.file),
        own.line,
        is_wait,
        may_be_wait=any(_ENGINE_IN in f.file and f.function == _ENGINE for f in stack[:user]),
        is_locked=any(f.file.endswith(_LOCK_IN) and f.function == _LOCK for f in stack[:user]),
    )


def is_in_own_code(stack: Sequence[Frame]) -> bool:
    """Tell whether any of these frames is the user's own."""
    return _find(stack, _LIBRARY) is not None


def group_ranks(places: Iterable[tuple[int, str]]) -> tuple[str, ...]:
    """Return `r[0-62] all_reduce (train.py:88)` for each group of ranks at one place, lowest rank first."""
    groups: dict[str, list[int]] = {}
    for rank, place in sorted(places):
        groups.setdefault(place, []).append(rank)
    return tuple(f"{rank_label(group)} {place}" for place, group in groups.items())


def rank_label(numbers: Iterable[int]) -> str:
    """Return `r3` or `r[0-62]`."""
    text = folded(numbers)
    return f"r{text}" if text.isdigit() else f"r[{text}]"


def _find(stack: Sequence[Frame], foreign: re.Pattern[str]) -> int | None:
    return next((i for i, frame in enumerate(stack) if not foreign.search(frame.file)), None)


def _name(frame: Frame) -> str:
    if frame.function == "__next__":
        is_loader = "/torch/utils/data/" in frame.file
        return "next(loader)" if is_loader else "next(…)"
    return frame.function
