"""The shape of the MNIST example: its options (--dry-run and --no-cuda too), loaders with workers."""

import argparse

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--log-interval", type=int, default=1)
    parser.add_argument("--no-cuda", action="store_true")
    parser.add_argument("--dry-run", action="store_true", help="quickly check a single pass")
    given = parser.parse_args()
    dist.init_process_group("gloo")
    torch.manual_seed(1)
    images = TensorDataset(torch.rand(128, 1, 28, 28), torch.randint(10, (128,)))
    loader = DataLoader(images, given.batch_size, sampler=DistributedSampler(images), num_workers=2)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 26 * 26, 10))
    model = DistributedDataParallel(model)
    optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
    for epoch in range(1, given.epochs + 1):
        for batch, (data, target) in enumerate(loader):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(data), target).backward()
            optimizer.step()
            if batch % given.log_interval == 0:
                print(f"Train Epoch: {epoch} [{batch}/{len(loader)}]")
            if given.dry_run:
                break
    print("trained")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
