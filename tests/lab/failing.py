"""A job of eight ranks on four hosts; one rank fails midway, in one of several ways."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import wait_until

# The ranks all-reduce in a loop; one of them carries out an order in the middle of it.
JOB = """
import os, signal, sys, time
import torch, torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import record

def fail(how):
    with open("/tmp/failed-at", "w") as file:
        file.write(repr(time.time()))
    if how == "raise":
        raise ValueError("this batch is not like the others")
    if how == "exit":
        sys.exit(3)
    if how == "memory":
        eaten = []
        while True:
            eaten.append(bytearray(os.urandom(1) * (32 << 20)))
    os.kill(os.getpid(), getattr(signal, how))
    time.sleep(60)

def main():
    dist.init_process_group("gloo")
    rank, step = dist.get_rank(), 0
    value = torch.ones(1000)
    while True:
        if rank == int(sys.argv[1]) and os.path.exists("/tmp/fail"):
            fail(open("/tmp/fail").read())
        dist.all_reduce(value)
        value /= dist.get_world_size()
        step += 1
        if step == 3:
            print("going", flush=True)
        time.sleep(0.02)

main = record(main) if os.environ.get("RECORDED") else main
main()
"""

# With `python`, orch starts one process per node, which starts its own ranks.
SPAWNING = """
import os, sys
import torch.multiprocessing as mp

def rank(local):
    node = int(os.environ["NODE_RANK"])
    os.environ.update(RANK=str(2 * node + local), WORLD_SIZE="8", LOCAL_RANK=str(local))
    exec(compile(open(os.path.join(os.path.dirname(__file__), "job.py")).read(), "job.py", "exec"), {})

if __name__ == "__main__":
    mp.spawn(rank, nprocs=2)
"""

LAUNCHERS = ("torchrun", "fabric", "direct", "python")
KINDS = ("raise", "exit", "SIGKILL", "SIGSEGV", "memory", "vanish")
RANK, NODE = 5, "node2"


def strike(lab: Lab, kind: str, rank: int = RANK) -> float:
    """Make a rank fail, or its node vanish; return the time of that (time.time)."""
    if kind == "vanish":
        failed_at = time.time()
        lab.vanish(f"node{rank // 2}")
        return failed_at
    place = lab.files(f"node{rank // 2}") / "tmp"
    (place / "new").write_text(kind)
    (place / "new").rename(place / "fail")
    wait_until(lambda: (place / "failed-at").exists() and (place / "failed-at").read_text() != "")
    return float((place / "failed-at").read_text())


def limited(lab: Lab, kind: str) -> AbstractContextManager[None]:
    """Limit the memory of NODE so that it soon runs out, if that is how the rank must fail."""
    return memory_limit(lab, NODE, 1600 << 20) if kind == "memory" else nullcontext()


@contextmanager
def memory_limit(lab: Lab, node: str, limit: int) -> Iterator[None]:
    """Put all present and future processes of a node in a memory cgroup (version 1)."""
    with control_limit(lab, node, "memory", "memory.limit_in_bytes", limit):
        yield


@contextmanager
def control_limit(lab: Lab, node: str, controller: str, name: str, limit: int) -> Iterator[None]:
    """Put all present and future processes of a node in a cgroup (version 1) with this limit."""
    group = Path("/sys/fs/cgroup") / controller / lab.name
    if not group.parent.is_dir():
        pytest.skip(f"no control groups of version 1 for {controller} here")
    shown = "/sys/fs/cgroup"  # the real one is not visible on lab hosts
    mounts = f"mount -t tmpfs tmpfs {shown} && mkdir {shown}/{controller}"
    mounts += f" && mount -t cgroup -o {controller} cgroup {shown}/{controller}"
    done = lab.run(["sh", "-c", mounts], node=node)
    assert done.returncode == 0, done.stderr
    group.mkdir()
    try:
        (group / name).write_text(str(limit))
        _move([str(process.pid) for process in lab.processes(node)], group)
        yield
    finally:
        wait_until(lambda: _is_emptied(group))
        group.rmdir()


def _is_emptied(group: Path) -> bool:
    """Move the processes out of the group; return whether it is empty."""
    pids = (group / "cgroup.procs").read_text().split()
    _move(pids, group.parent)
    return not pids


def _move(pids: Sequence[str], group: Path) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # it has already ended
            (group / "cgroup.procs").write_text(pid)
