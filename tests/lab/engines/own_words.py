"""Use Accelerate and DeepSpeed as their scripts do, in what needs no GPU."""

import argparse
import os

import deepspeed
import torch
from accelerate import Accelerator


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--local_rank", type=int, default=-1)
    deepspeed.add_config_arguments(parser)
    args = parser.parse_args()
    if args.local_rank >= 0:
        deepspeed.init_distributed("gloo")
        total = torch.ones(1)
        deepspeed.comm.all_reduce(total)
        rank, world = deepspeed.comm.get_rank(), deepspeed.comm.get_world_size()
    else:
        accelerator = Accelerator()
        total = accelerator.reduce(torch.ones(1))
        rank, world = accelerator.process_index, accelerator.num_processes
    stage = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE")
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION")
    print(f"rank {rank} of {world}: {total.item():g} {precision} {stage}", flush=True)


if __name__ == "__main__":
    main()
