"""The shape of the ImageNet example: many options, --dist-url, a world that the environment may give."""

import argparse
import os

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

parser = argparse.ArgumentParser()
parser.add_argument("data", nargs="?", default="imagenet")
parser.add_argument("-a", "--arch", default="resnet18")
parser.add_argument("-j", "--workers", type=int, default=4)
parser.add_argument("-b", "--batch-size", type=int, default=8)
parser.add_argument("--lr", "--learning-rate", type=float, default=0.1, dest="lr")
parser.add_argument("-p", "--print-freq", type=int, default=1)
parser.add_argument("-e", "--evaluate", action="store_true")
parser.add_argument("--world-size", type=int, default=-1)
parser.add_argument("--rank", type=int, default=-1)
parser.add_argument("--dist-url", default="tcp://224.66.41.62:23456")
parser.add_argument("--dist-backend", default="nccl")
parser.add_argument("--multiprocessing-distributed", action="store_true")


def worker(_: int, given: argparse.Namespace) -> None:
    if given.dist_url == "env://" and given.rank == -1:
        given.rank = int(os.environ["RANK"])
    dist.init_process_group(
        backend=given.dist_backend, init_method=given.dist_url, world_size=given.world_size,
        rank=given.rank,
    )  # fmt: skip
    model = DistributedDataParallel(torch.nn.Conv2d(3, 4, 3))
    optimizer = torch.optim.SGD(model.parameters(), given.lr, momentum=0.9)
    for step in range(2):
        optimizer.zero_grad()
        model(torch.randn(given.batch_size, 3, 16, 16)).mean().backward()
        optimizer.step()
        if step % given.print_freq == 0:
            print(f"Epoch: [0][{step}/2]\tworker {given.rank} of {given.world_size}")
    dist.destroy_process_group()


def main() -> None:
    given = parser.parse_args()
    if given.dist_url == "env://" and given.world_size == -1:
        given.world_size = int(os.environ["WORLD_SIZE"])
    if given.multiprocessing_distributed:
        mp.spawn(worker, nprocs=max(1, torch.cuda.device_count()), args=(given,))
    else:
        worker(0, given)


if __name__ == "__main__":
    main()
