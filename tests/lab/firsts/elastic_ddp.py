"""Reads torchrun's variables, and takes the device and backend that the machine has."""

import os

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel


def main() -> None:
    rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    has_gpu = torch.cuda.is_available()
    device = torch.device("cuda", local_rank) if has_gpu else torch.device("cpu")
    dist.init_process_group(backend="nccl" if has_gpu else "gloo")
    model = torch.nn.Sequential(torch.nn.Linear(10, 10), torch.nn.ReLU(), torch.nn.Linear(10, 5))
    ddp = DistributedDataParallel(model.to(device), device_ids=[local_rank] if has_gpu else None)
    loss = ddp(torch.randn(20, 10, device=device)).pow(2).mean()
    loss.backward()
    world, local = os.environ["WORLD_SIZE"], os.environ["LOCAL_WORLD_SIZE"]
    print(f"rank {rank} of {world}, {local} here, round {os.environ['TORCHELASTIC_RESTART_COUNT']}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
