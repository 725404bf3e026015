"""Count to eight over all ranks, with a checkpoint after each step; rank 1 is killed once, after step 3.

orch launch --elastic 1:2 elastic/train.py
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import torch
import torch.distributed as dist

STEPS = 8
CHECKPOINT = Path("count.json")


def restore() -> int:
    """Return the number of steps done, which the rank that has the newest checkpoint knows."""
    done = torch.zeros(1, dtype=torch.int64)
    if CHECKPOINT.exists():
        done[0] = json.loads(CHECKPOINT.read_text())["step"]
    dist.all_reduce(done, op=dist.ReduceOp.MAX)
    return int(done)


def save(step: int) -> None:
    """Write the checkpoint on every node: which node has rank 0 may change."""
    if os.environ["LOCAL_RANK"] != "0":
        return
    unfinished = CHECKPOINT.with_suffix(".unfinished")
    unfinished.write_text(json.dumps({"step": step}))
    unfinished.replace(CHECKPOINT)


def main() -> None:
    dist.init_process_group("gloo")
    is_first_round = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    done = restore()
    if done and dist.get_rank() == 0:
        print(f"resuming after step {done}", flush=True)
    for step in range(done + 1, STEPS + 1):
        ranks = torch.ones(1)
        dist.all_reduce(ranks)
        if dist.get_rank() == 0:
            print(f"step {step}/{STEPS} on {int(ranks)} ranks", flush=True)
        save(step)
        dist.barrier()
        if is_first_round and step == 3 and dist.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
