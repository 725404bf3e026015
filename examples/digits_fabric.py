"""Digits with Lightning Fabric: the same training as digits_ddp.py, with Fabric doing the plumbing.

    orch launch -i hosts.yaml --launcher fabric examples/digits_fabric.py --epochs 8

Works under `fabric run` and under torchrun; see `join` for what it takes.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from digits import load, network
from lightning.fabric import Fabric
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, DistributedSampler, Subset, TensorDataset


def join() -> Fabric:
    """A Fabric whose process group is up, whichever launcher started this process.

    `fabric run` says so in LT_CLI_USED, and passes its flags in the environment: Fabric() takes
    them from there and joins the group at once, and a launch() on top would raise RuntimeError.
    torchrun tells Fabric the ranks but not the strategy: alone with one CPU or GPU a process
    would choose to train for itself, so we name the strategy and the shape of the cluster.
    """
    if os.environ.get("LT_CLI_USED") == "1":
        return Fabric()
    devices = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    nodes = int(os.environ.get("WORLD_SIZE", devices)) // devices
    fabric = Fabric(strategy="ddp", devices=devices, num_nodes=nodes)
    fabric.launch()
    return fabric


def say(fabric: Fabric, text: str) -> None:
    """Print on rank 0; fabric.print() would do so once on every node."""
    if fabric.is_global_zero:
        print(text)


def summed(fabric: Fabric, *values: float) -> list[float]:
    """Each value summed over all ranks."""
    totals = torch.tensor(values, dtype=torch.float64, device=fabric.device)
    return [float(total) for total in fabric.all_reduce(totals, reduce_op="sum")]


def train(
    fabric: Fabric, model: nn.Module, optimizer: torch.optim.Optimizer, batches: DataLoader[Any]
) -> float:
    """One pass over this rank's share; returns the mean loss over all ranks."""
    model.train()
    loss_sum, count = 0.0, 0
    for batch in batches:
        images, labels = fabric.to_device(batch)
        loss = cross_entropy(model(images), labels)
        optimizer.zero_grad()
        fabric.backward(loss)  # the gradients are averaged over the ranks here
        optimizer.step()
        loss_sum, count = loss_sum + loss.item() * len(labels), count + len(labels)
    total_loss, total = summed(fabric, loss_sum, count)
    return total_loss / total


@torch.no_grad()
def accuracy(fabric: Fabric, model: nn.Module, images: TensorDataset) -> tuple[float, int]:
    """The share of images read correctly, over all ranks, and how many there were.

    Every image counts once. A DistributedSampler would repeat some until all ranks have equally
    many; instead each rank takes every world-size-th image, and the counts are summed.
    """
    model.eval()
    mine = range(fabric.global_rank, len(images), fabric.world_size)
    correct, count = 0, 0
    for batch in DataLoader(Subset(images, mine), batch_size=256):
        inputs, labels = fabric.to_device(batch)
        correct += int((model(inputs).argmax(1) == labels).sum())
        count += len(labels)
    total_correct, total = summed(fabric, correct, count)
    return total_correct / total, int(total)


def save(path: Path, state: dict[str, Any]) -> None:
    """Write the checkpoint beside its place and rename it: a crash leaves the old one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    torch.save(state, unfinished)
    unfinished.replace(path)


def restore(fabric: Fabric, path: Path) -> dict[str, Any] | None:
    """The checkpoint, if there is one; rank 0 reads it for all, as nodes need not share files."""
    found = None
    if fabric.is_global_zero and path.exists():
        found = torch.load(path, map_location="cpu", weights_only=True)
    return fabric.broadcast(found, src=0)


def run(args: argparse.Namespace, fabric: Fabric) -> None:
    """Train, and say how well the held-out digits are read; the process group is up."""
    fabric.seed_everything(0, verbose=False)

    # Left to itself, setup_dataloaders() assumes as many devices on every node, and counts epochs
    # from 0 after a resume; so the sampler is ours.
    training, held_out = load()
    sampler: DistributedSampler[Any] = DistributedSampler(
        training, num_replicas=fabric.world_size, rank=fabric.global_rank, seed=0
    )
    batches = DataLoader(training, max(1, args.batch_size // fabric.world_size), sampler=sampler)

    module = network()
    model, optimizer = fabric.setup(module, torch.optim.AdamW(module.parameters(), lr=args.lr))

    done = 0
    if args.checkpoint and (state := restore(fabric, args.checkpoint)):
        module.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["epochs"]
        say(fabric, f"resuming after epoch {done} from {args.checkpoint}")

    for epoch in range(done, args.epochs):
        sampler.set_epoch(epoch)  # or every epoch would come in the same order
        loss = train(fabric, model, optimizer, batches)
        share, _ = accuracy(fabric, module, held_out)
        say(
            fabric,
            f"epoch {epoch + 1}/{args.epochs}  loss {loss:.4f}  accuracy {100 * share:.1f} %",
        )
        if args.checkpoint and fabric.is_global_zero:
            state = {
                "model": module.state_dict(),
                "optimizer": optimizer.state_dict(),
                "epochs": epoch + 1,
            }
            save(args.checkpoint, state)

    share, count = accuracy(fabric, module, held_out)
    say(
        fabric,
        f"accuracy {100 * share:.1f} % on {count} held-out digits (world size {fabric.world_size})",
    )


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

    run(args, join())
    # The group must end here, or gloo's threads now and then hang or abort the exit
    # (https://github.com/pytorch/pytorch/issues/190489). So nothing may hold on to it: the model
    # went with run().
    if dist.is_initialized():  # Fabric makes no group when it trains alone
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
