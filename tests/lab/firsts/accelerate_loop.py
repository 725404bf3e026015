"""Accelerate's loop: prepare, backward, gather."""

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, TensorDataset


def main() -> None:
    accelerator = Accelerator(cpu=True)
    model = torch.nn.Linear(8, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data = DataLoader(TensorDataset(torch.rand(64, 8)), batch_size=8, shuffle=True)
    model, optimizer, data = accelerator.prepare(model, optimizer, data)
    for (batch,) in data:
        optimizer.zero_grad()
        accelerator.backward(model(batch).pow(2).mean())
        optimizer.step()
    ranks = accelerator.gather(torch.tensor([accelerator.process_index])).tolist()
    accelerator.print(f"{accelerator.num_processes} processes, {len(data)} batches each: {ranks}")
    accelerator.end_training()


if __name__ == "__main__":
    main()
