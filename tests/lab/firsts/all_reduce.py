"""Point to point, then a collective, as the tutorials of torch.distributed begin."""

import torch
import torch.distributed as dist


def main() -> None:
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    token = torch.zeros(1)
    if rank == 0:
        dist.send(token + 1, dst=1 % world)
    elif rank == 1:
        dist.recv(token, src=0)
    value = torch.ones(1) * (rank + 1)
    dist.all_reduce(value, op=dist.ReduceOp.SUM)
    gathered = [torch.zeros(1) for _ in range(world)]
    dist.all_gather(gathered, torch.tensor([float(rank)]))
    print(f"rank {rank} has the sum {value.item():g} and {[int(each) for each in gathered]}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
