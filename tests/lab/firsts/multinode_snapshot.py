"""A trainer that keeps a snapshot, and goes on from it; positional arguments, a sampler, a loader."""

import argparse
import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


class Trainer:
    def __init__(self, data: DataLoader, save_every: int, snapshot: Path) -> None:
        self.rank = int(os.environ["RANK"])
        self.data, self.save_every, self.snapshot = data, save_every, snapshot
        self.model = torch.nn.Linear(20, 1)
        self.first = 0
        if snapshot.exists():
            kept = torch.load(snapshot, weights_only=True)
            self.model.load_state_dict(kept["model"])
            self.first = kept["epoch"]
            print(f"resuming at epoch {self.first}")
        self.ddp = DistributedDataParallel(self.model)
        self.optimizer = torch.optim.SGD(self.ddp.parameters(), lr=1e-3)

    def train(self, epochs: int) -> None:
        for epoch in range(self.first, epochs):
            self.data.sampler.set_epoch(epoch)
            for source, target in self.data:
                self.optimizer.zero_grad()
                torch.nn.functional.mse_loss(self.ddp(source), target).backward()
                self.optimizer.step()
            if os.environ["LOCAL_RANK"] == "0" and epoch % self.save_every == 0:
                torch.save({"model": self.model.state_dict(), "epoch": epoch + 1}, self.snapshot)
        print(f"rank {self.rank}: {epochs} epochs, {len(self.data)} batches each")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("total_epochs", type=int)
    parser.add_argument("save_every", type=int)
    parser.add_argument("--batch_size", type=int, default=32)
    given = parser.parse_args()
    dist.init_process_group("gloo")
    dataset = TensorDataset(torch.rand(256, 20), torch.rand(256, 1))
    data = DataLoader(dataset, given.batch_size, sampler=DistributedSampler(dataset))
    Trainer(data, given.save_every, Path("snapshot.pt")).train(given.total_epochs)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
