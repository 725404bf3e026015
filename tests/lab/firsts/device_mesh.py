"""Two dimensions: nodes by ranks, a reduction along each."""

import os

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh


def main() -> None:
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    nodes = int(os.environ["WORLD_SIZE"]) // local
    mesh = init_device_mesh("cpu", (nodes, local), mesh_dim_names=("replicate", "shard"))
    sums = []
    for name in ("replicate", "shard"):
        value = torch.ones(1) * (dist.get_rank() + 1)
        dist.all_reduce(value, group=mesh.get_group(name))
        sums.append(int(value))
    print(f"rank {dist.get_rank()} at {mesh.get_coordinate()}: {sums}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
