"""init_method="tcp://...", from the variables that every launcher sets."""

import os

import torch
import torch.distributed as dist


def main() -> None:
    where = f"tcp://{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo", init_method=where, rank=rank, world_size=world)
    value = torch.ones(1)
    dist.all_reduce(value)
    print(f"rank {rank} met {value.item():g} at {where}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
