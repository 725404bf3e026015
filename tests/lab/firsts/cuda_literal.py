"""As most tutorials have it: NCCL, and a GPU for every rank."""

import os

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel


def main() -> None:
    local_rank = int(os.environ["LOCAL_RANK"])
    torch.cuda.set_device(local_rank)
    dist.init_process_group(backend="nccl")
    model = DistributedDataParallel(torch.nn.Linear(10, 5).cuda(), device_ids=[local_rank])
    model(torch.randn(20, 10).cuda()).sum().backward()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
