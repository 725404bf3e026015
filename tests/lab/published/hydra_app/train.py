"""Hydra: groups of configurations, overrides, objects made from them, a working folder for each rank."""

import os
from pathlib import Path

import hydra
import torch
import torch.distributed as dist
from omegaconf import DictConfig
from torch.nn.parallel import DistributedDataParallel


@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    dist.init_process_group("gloo")
    torch.manual_seed(config.seed)
    model = DistributedDataParallel(torch.nn.Linear(4, 1))
    optimizer = hydra.utils.instantiate(config.optimizer, params=model.parameters())
    for _ in range(config.steps):
        optimizer.zero_grad()
        model(torch.randn(8, 4)).pow(2).mean().backward()
        optimizer.step()
    kept = Path(".hydra/overrides.yaml").read_text().split("- ")[1:]
    print(
        f"rank {dist.get_rank()} of {dist.get_world_size()} in {Path.cwd().name}: "
        f"{type(optimizer).__name__} {config.optimizer.lr}, {config.steps} steps, "
        f"{len(kept)} overrides, rank {os.environ['RANK']}"
    )
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
