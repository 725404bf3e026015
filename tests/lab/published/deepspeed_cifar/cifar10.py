"""DeepSpeed's CIFAR example in shape: --local_rank, a configuration, an engine that trains and saves."""

import argparse
from pathlib import Path

import deepspeed
import torch
from torch import nn
from torch.utils.data import TensorDataset


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        )  # fmt: skip
        self.classify = nn.Sequential(nn.Linear(16 * 5 * 5, 84), nn.ReLU(), nn.Linear(84, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classify(self.convolutions(images))


def images() -> TensorDataset:
    """Return 64 images of CIFAR's shape, in place of those that the example downloads."""
    drawn = torch.Generator().manual_seed(0)
    return TensorDataset(
        torch.rand(64, 3, 32, 32, generator=drawn), torch.randint(10, (64,), generator=drawn)
    )


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="CIFAR")
    parser.add_argument("-e", "--epochs", type=int, default=30)
    parser.add_argument("--local_rank", type=int, default=-1)
    parser = deepspeed.add_config_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parsed()
    deepspeed.init_distributed()
    model = Net()
    engine, _, loader, _ = deepspeed.initialize(
        args=args, model=model, model_parameters=model.parameters(), training_data=images()
    )
    criterion = nn.CrossEntropyLoss()
    for _ in range(args.epochs):
        for inputs, labels in loader:
            loss = criterion(engine(inputs.to(engine.device)), labels.to(engine.device))
            engine.backward(loss)
            engine.step()
    engine.save_checkpoint("checkpoints", tag="last")
    own = sorted(path.name for path in Path("checkpoints/last").glob("*_optim_states.pt"))
    rank, world = deepspeed.comm.get_rank(), deepspeed.comm.get_world_size()
    print(
        f"rank {rank} of {world}, local {args.local_rank}: {engine.global_steps} steps, saved {own}"
    )
    deepspeed.comm.destroy_process_group()


if __name__ == "__main__":
    main()
