"""What both examples learn: handwritten digits, and a residual network that reads them.

Nothing here knows about ranks; how the work is spread over them is in digits_ddp.py and
digits_fabric.py. The images come with scikit-learn, so nothing is downloaded.
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import TensorDataset

HELD_OUT = 360


def load() -> tuple[TensorDataset, TensorDataset]:
    """1797 images of shape (1, 8, 8) in 0..1 with their labels 0..9, as 1437 to train on and 360
    held out; the split is the same on every rank and in every run."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    train, held_out = order[HELD_OUT:], order[:HELD_OUT]
    return (
        TensorDataset(images[train], labels[train]),
        TensorDataset(images[held_out], labels[held_out]),
    )


class Residual(nn.Module):
    """Two convolutions beside a shortcut; (batch, channels, 8, 8) in and out.

    GroupNorm, because batch statistics would differ from rank to rank and with the world size.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(4, channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(4, channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def network(channels: int = 32) -> nn.Module:
    """Images (batch, 1, 8, 8) to scores (batch, 10)."""
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1),
        Residual(channels),
        nn.MaxPool2d(2),
        Residual(channels),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(channels * 4 * 4, 10),
    )
