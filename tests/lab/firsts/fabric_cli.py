"""Fabric for `fabric run`: no shape, no launch."""

import torch
from lightning.fabric import Fabric


def main() -> None:
    fabric = Fabric()
    model = torch.nn.Linear(4, 1)
    model, optimizer = fabric.setup(model, torch.optim.SGD(model.parameters(), lr=0.1))
    fabric.backward(model(torch.randn(2, 4)).sum())
    optimizer.step()
    total = fabric.all_reduce(torch.ones(1), reduce_op="sum")
    print(f"global rank {fabric.global_rank} of {fabric.world_size}: {total.item():g}")


if __name__ == "__main__":
    main()
