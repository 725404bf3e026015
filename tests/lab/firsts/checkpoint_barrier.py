"""Rank 0 of each node saves, a barrier, all load: the checkpoint of the DDP tutorial."""

import os
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel


def main() -> None:
    dist.init_process_group("gloo")
    model = DistributedDataParallel(torch.nn.Linear(10, 5))
    path = Path(tempfile.gettempdir()) / f"{os.environ['TORCHELASTIC_RUN_ID']}.checkpoint"
    if os.environ["LOCAL_RANK"] == "0":
        torch.save(model.state_dict(), path)
    dist.barrier()
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    model(torch.randn(20, 10)).sum().backward()
    dist.barrier()
    if dist.get_rank() == 0:
        path.unlink()
    print(f"rank {dist.get_rank()} has loaded it")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
