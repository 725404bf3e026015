"""Snapshots, processes and stacks for tests."""

from __future__ import annotations

from typing import Any

from orchestrator.hangs.snapshot import Frame, Process, Snapshot, StuckConnection, Thread

TORCH = "/venv/lib/python3.11/site-packages/torch"

MODULE = Frame("<module>", "/job/train.py", 101)
TRAIN = (Frame("train", "/job/train.py", 88), MODULE)
ALL_REDUCE = (
    Frame("all_reduce", f"{TORCH}/distributed/distributed_c10d.py", 3252),
    Frame("wrapper", f"{TORCH}/distributed/c10d_logger.py", 83),
    *TRAIN,
)
BARRIER = (Frame("barrier", f"{TORCH}/distributed/distributed_c10d.py", 5000), *TRAIN)
BACKWARD = (
    Frame("_engine_run_backward", f"{TORCH}/autograd/graph.py", 869),
    Frame("backward", f"{TORCH}/autograd/__init__.py", 354),
    Frame("backward", f"{TORCH}/_tensor.py", 630),
    *TRAIN,
)
BATON = (
    Frame("wait", f"{TORCH}/utils/file_baton.py", 52),
    Frame("_jit_compile", f"{TORCH}/utils/cpp_extension.py", 2000),
    Frame("load", f"{TORCH}/utils/cpp_extension.py", 1600),
    *TRAIN,
)
LOADER = (
    Frame("wait", "/usr/lib/python3.11/threading.py", 324),
    Frame("get", "/usr/lib/python3.11/queue.py", 180),
    Frame("_try_get_data", f"{TORCH}/utils/data/dataloader.py", 1284),
    Frame("__next__", f"{TORCH}/utils/data/dataloader.py", 733),
    Frame("batches", "/job/data.py", 40),
    *TRAIN,
)


def process(
    rank: int | None, stack: tuple[Frame, ...] = (), *, pid: int | None = None, **more: Any
) -> Process:
    """Return a process of `rank`, by default the rank itself."""
    given: dict[str, Any] = {
        "pid": pid or 100 + (rank or 0), "rank": rank, "is_own": True, "name": "python",
        "state": "S", "used": 1.0, "main_used": 1.0, "moved": 0, "by": "signal" if stack else "",
        "why": "" if stack else "it has no hook",
        "threads": (Thread("MainThread", True, stack),) if stack else (),
    }  # fmt: skip
    return Process(**{**given, **more})


def snapshot(
    node: str, *processes: Process, at: float = 100.0, stuck: tuple[StuckConnection, ...] = ()
) -> Snapshot:
    return Snapshot(node, at, processes, stuck)
