"""torch.distributed.rpc: rank 0 asks the others."""

import os

import torch
from torch.distributed import rpc


def squared(tensor: torch.Tensor) -> torch.Tensor:
    return tensor * tensor


def main() -> None:
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    rpc.init_rpc(f"worker{rank}", rank=rank, world_size=world)
    if rank == 0:
        asked = [
            rpc.rpc_async(f"worker{n}", squared, args=(torch.ones(2) * n,)) for n in range(1, world)
        ]
        print("answers:", [int(each.wait()[0]) for each in asked])
    rpc.shutdown()


if __name__ == "__main__":
    main()
