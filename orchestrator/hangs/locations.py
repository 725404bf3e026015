"""Describe where ranks are in their code, on one line. Pure.

`all_reduce (train.py:88)` is the call that the user's own code makes at that line. Ranks at the same
location are grouped: `r[0-62] all_reduce (train.py:88) · r63 next(loader) (data.py:40)`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.hangs.snapshot import Frame
from orchestrator.util.numbers import folded

# Code that is not the user's own: installed packages, the standard library, code without a file.
_LIBRARY = re.compile(r"/(?:site|dist)-packages/|/lib(?:64)?/python[0-9.]+/|^<(?!stdin>)")
# Frameworks that call the user's code; their own calls do not tell where a rank is.
_FRAMEWORK = re.compile(
    r"/torch/|/lightning[a-z_]*/|/pytorch_lightning/|/lib(?:64)?/python[0-9.]+/(?!(?:site|dist)-packages/)"
    r"|^<(?!stdin>)"
)
# Decorators and entry points around the function that users know.
_WRAPPERS = {"wrapper", "_fn", "inner", "decorate_context", "wrapped", "__call__", "_call_impl",
             "_wrapped_call_impl"}  # fmt: skip

# Calls in which a rank waits for others: public and internal names of torch.distributed.
_WAITS = re.compile(
    r"(?:all_reduce|all_gather|reduce_scatter|all_to_all|broadcast|barrier|gather|scatter|send|recv"
    r"|batch_isend_irecv|init_process_group|new_group|_?rendezvous|reduce|_store_based_barrier"
    r"|destroy_process_group|init_device_mesh|monitored_barrier)(?:_.*)?\Z"
)
_WAITS_IN = re.compile(r"/torch/distributed/|/torch/nn/parallel/")
# The autograd engine, in which DDP's hooks reduce gradients; no call of torch.distributed is on the stack.
_ENGINE_IN, _ENGINE = "/torch/autograd/", "_engine_run_backward"
# Where torch.utils.cpp_extension waits for the process that compiles the extension.
_LOCK_IN, _LOCK = "/torch/utils/file_baton.py", "wait"


@dataclass(frozen=True)
class Location:
    """The `call` that is made at `line` of `file` (base name; empty if unknown).

    `is_wait`: ranks wait for each other in this call. `may_be_wait`: they usually do, besides other work.
    `is_locked`: it waits for the lock of a compiled extension.
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
    """Return where a thread with these frames (innermost first) is; None if it has none."""
    if not stack:
        return None
    found = (_find(stack, _LIBRARY), _find(stack, _FRAMEWORK), 0)
    user = next(index for index in found if index is not None)
    own, inner = stack[user], stack[:user]
    called = [frame for frame in reversed(inner) if frame.function not in _WRAPPERS]
    return Location(
        _name(called[0]) if called else own.function,
        posixpath.basename(own.file),
        own.line,
        is_wait=any(_WAITS_IN.search(f.file) and _WAITS.match(f.function) for f in inner),
        may_be_wait=any(_ENGINE_IN in f.file and f.function == _ENGINE for f in inner),
        is_locked=any(f.file.endswith(_LOCK_IN) and f.function == _LOCK for f in inner),
    )


def has_own_code(stack: Sequence[Frame]) -> bool:
    """Return whether any of these frames is the user's own."""
    return _find(stack, _LIBRARY) is not None


def by_location(locations: Iterable[tuple[int, str]]) -> dict[str, list[int]]:
    """Return the ranks at each location, lowest rank first."""
    groups: dict[str, list[int]] = {}
    for rank, location in sorted(locations):
        groups.setdefault(location, []).append(rank)
    return groups


def group_ranks(locations: Iterable[tuple[int, str]]) -> tuple[str, ...]:
    """Return `r[0-62] all_reduce (train.py:88)` for the ranks at each location, lowest rank first."""
    groups = by_location(locations).items()
    return tuple(f"{rank_label(ranks)} {location}" for location, ranks in groups)


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
