"""For one machine: starts its own ranks, which meet at an address and port that are written down here."""

import os

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def example(rank: int, world_size: int) -> None:
    os.environ["MASTER_ADDR"] = "localhost"
    os.environ["MASTER_PORT"] = "12355"
    dist.init_process_group("gloo", rank=rank, world_size=world_size)
    value = torch.ones(1)
    dist.all_reduce(value)
    print(f"rank {rank} of {world_size}: {value.item():g}")
    dist.destroy_process_group()


def main() -> None:
    world_size = 2
    mp.spawn(example, args=(world_size,), nprocs=world_size, join=True)


if __name__ == "__main__":
    main()
