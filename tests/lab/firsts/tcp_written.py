"""Rank, world and the place to meet as options: a command line of its own for every machine."""

import argparse

import torch
import torch.distributed as dist


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--init-method", default="tcp://127.0.0.1:23456")
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--world-size", type=int, required=True)
    given = parser.parse_args()
    dist.init_process_group(
        "gloo", init_method=given.init_method, rank=given.rank, world_size=given.world_size
    )
    value = torch.ones(1)
    dist.all_reduce(value)
    print(f"rank {given.rank}: {value.item():g}")


if __name__ == "__main__":
    main()
