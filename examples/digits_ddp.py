"""Digits with torch.distributed: DistributedDataParallel on any number of machines.

    orch launch -i hosts.yaml examples/digits_ddp.py --epochs 8

Any launcher that sets RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT will do (orch,
torchrun); with none of them, `python examples/digits_ddp.py` trains in one process. Uses the GPU
of its local rank where there is one, else the CPU.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # before any process group is up, see main()
import torch.distributed as dist
from digits import load, network
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, Subset, TensorDataset


def join() -> torch.device:
    """Join the process group, and return the device that is this rank's own."""
    if torch.cuda.is_available():
        device, backend = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))), "nccl"
        torch.cuda.set_device(device)
    else:
        device, backend = torch.device("cpu"), "gloo"
    if "RANK" in os.environ:
        dist.init_process_group(backend)
    else:  # no launcher: a group of one, which needs no address to meet at
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    return device


def summed(*values: float) -> list[float]:
    """Each value summed over all ranks."""
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    totals = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(totals)
    return totals.tolist()


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: DataLoader[Any],
    device: torch.device,
) -> float:
    """One pass over this rank's share; returns the mean loss over all ranks."""
    model.train()
    loss_sum, count = 0.0, 0
    for images, labels in batches:
        loss = cross_entropy(model(images.to(device)), labels.to(device))
        optimizer.zero_grad()
        loss.backward()  # DistributedDataParallel averages the gradients over the ranks here
        optimizer.step()
        loss_sum, count = loss_sum + loss.item() * len(labels), count + len(labels)
    total_loss, total = summed(loss_sum, count)
    return total_loss / total


@torch.no_grad()
def accuracy(model: nn.Module, images: TensorDataset, device: torch.device) -> tuple[float, int]:
    """The share of images read correctly, over all ranks, and how many there were.

    Every image counts once. A DistributedSampler would repeat some until all ranks have equally
    many; instead each rank takes every world-size-th image, and the counts are summed.
    """
    model.eval()
    mine = range(dist.get_rank(), len(images), dist.get_world_size())
    correct, count = 0, 0
    for batch, labels in DataLoader(Subset(images, mine), batch_size=256):
        correct += int((model(batch.to(device)).argmax(1) == labels.to(device)).sum())
        count += len(labels)
    total_correct, total = summed(correct, count)
    return total_correct / total, int(total)


def save(path: Path, state: dict[str, Any]) -> None:
    """Write the checkpoint beside its place and rename it: a crash leaves the old one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    torch.save(state, unfinished)
    unfinished.replace(path)


def restore(path: Path) -> dict[str, Any] | None:
    """The checkpoint, if there is one; rank 0 reads it for all, as nodes need not share files."""
    found: list[dict[str, Any] | None] = [None]
    if dist.get_rank() == 0 and path.exists():
        found = [torch.load(path, map_location="cpu", weights_only=True)]
    dist.broadcast_object_list(found, src=0)
    return found[0]


def run(args: argparse.Namespace, device: torch.device) -> None:
    """Train, and say how well the held-out digits are read; the process group is up."""
    rank, world_size = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)

    training, held_out = load()
    sampler: DistributedSampler[Any] = DistributedSampler(training, seed=0)
    batches = DataLoader(training, max(1, args.batch_size // world_size), sampler=sampler)

    model = DistributedDataParallel(
        network().to(device), device_ids=[device.index] if device.type == "cuda" else None
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)

    done = 0
    if args.checkpoint and (state := restore(args.checkpoint)):
        model.module.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["epochs"]
        if rank == 0:
            print(f"resuming after epoch {done} from {args.checkpoint}")

    for epoch in range(done, args.epochs):
        sampler.set_epoch(epoch)  # or every epoch would come in the same order
        loss = train(model, optimizer, batches, device)
        share, _ = accuracy(model.module, held_out, device)
        if rank == 0:
            print(f"epoch {epoch + 1}/{args.epochs}  loss {loss:.4f}  accuracy {100 * share:.1f} %")
            if args.checkpoint:
                state = {
                    "model": model.module.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "epochs": epoch + 1,
                }
                save(args.checkpoint, state)

    share, count = accuracy(model.module, held_out, device)
    if rank == 0:
        print(f"accuracy {100 * share:.1f} % on {count} held-out digits (world size {world_size})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=64, help="images a step, over all ranks")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument(
        "--checkpoint",
        type=Path,
        help="written by rank 0 after every epoch; a run that finds it continues from there",
    )
    args = parser.parse_args()

    device = join()
    run(args, device)
    # The group must end here, or gloo's threads now and then hang or abort the exit
    # (https://github.com/pytorch/pytorch/issues/190489). So nothing may hold on to it: the model
    # went with run(), and torch._dynamo was imported at the top, since DistributedDataParallel
    # would import it while a group is up, and it would keep that group for good.
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
