"""Train the digits, and print what must be the same under every launcher, to the last bit."""

import argparse
import os
import signal

import torch
import torch.distributed as dist
from digits import load, network
from digits_ddp import join, train
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Subset


def run(args: argparse.Namespace, device: torch.device) -> None:
    """Sum the ranks, fail if that is asked for, and train; the process group is up."""
    rank, world = dist.get_rank(), dist.get_world_size()
    local_rank = int(os.environ["LOCAL_RANK"])
    assert args.local_rank in (None, local_rank)
    total = torch.tensor([float(rank)])
    dist.all_reduce(total)
    print(f"rank {rank} of {world}, local {local_rank}: {total.item():g}", flush=True)
    if rank == args.raises:
        raise ValueError("the learning rate is not a number")
    if rank == args.killed:
        os.kill(os.getpid(), signal.SIGKILL)
    torch.manual_seed(0)
    images, _ = load()
    mine = Subset(images, range(rank, 210, world))
    model = DistributedDataParallel(network().to(device))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    loss = train(model, optimizer, DataLoader(mine, 15), device)
    print(f"loss of rank {rank}: {loss.hex()}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--local_rank", type=int)
    parser.add_argument("--raises", type=int)
    parser.add_argument("--killed", type=int)
    args = parser.parse_args()
    device = join()
    run(args, device)
    dist.destroy_process_group()  # with no model left: see examples/digits_ddp.py


if __name__ == "__main__":
    main()
