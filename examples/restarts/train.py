"""Count to eight over all ranks, with a checkpoint after each step; rank 1 fails once, after step 3.

orch launch -i restarts/hosts.yaml --restarts 1 restarts/train.py
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
import torch.distributed as dist

STEPS = 8
CHECKPOINT = Path("count.json")


def restore() -> int:
    """Return the number of steps done, which rank 0 reads for all: nodes need not share files."""
    done = [0]
    if dist.get_rank() == 0 and CHECKPOINT.exists():
        done = [json.loads(CHECKPOINT.read_text())["step"]]
        print(f"resuming after step {done[0]}", flush=True)
    dist.broadcast_object_list(done, src=0)
    return done[0]


def save(step: int) -> None:
    """Write the checkpoint beside its place and rename it: a crash leaves the old one whole."""
    unfinished = CHECKPOINT.with_suffix(".unfinished")
    unfinished.write_text(json.dumps({"step": step}))
    unfinished.replace(CHECKPOINT)


def main() -> None:
    dist.init_process_group("gloo")
    attempt = int(os.environ.get("ORCH_ATTEMPT", "0"))
    for step in range(restore() + 1, STEPS + 1):
        ranks = torch.ones(1)
        dist.all_reduce(ranks)
        if dist.get_rank() == 0:
            print(f"step {step}/{STEPS} on {int(ranks)} ranks", flush=True)
            save(step)
        dist.barrier()
        if attempt == 0 and step == 3 and dist.get_rank() == 1:
            raise RuntimeError("a fault that a second attempt does not have")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
