"""From the days of torch.distributed.launch, which gave each rank a --local-rank."""

import argparse

import torch
import torch.distributed as dist


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--local-rank", "--local_rank", type=int, required=True)
    parser.add_argument("--lr", type=float, default=0.1)
    given = parser.parse_args()
    dist.init_process_group("gloo", init_method="env://")
    value = torch.ones(1)
    dist.all_reduce(value)
    print(f"local rank {given.local_rank}: {value.item():g}")


if __name__ == "__main__":
    main()
