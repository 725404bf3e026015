"""Lightning's CLI: the model and the trainer are configured on the command line (jsonargparse)."""

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LightningCLI
from torch.utils.data import DataLoader, TensorDataset


class Model(LightningModule):
    def __init__(self, width: int = 4, rate: float = 0.1) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(width, 1)
        self.width, self.rate = width, rate

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        return self.layer(batch[0]).pow(2).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.rate)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(TensorDataset(torch.rand(32, self.width)), batch_size=4)

    def on_train_end(self) -> None:
        print(f"rank {self.global_rank} of {self.trainer.world_size}: width {self.width}, "
              f"{self.trainer.global_step} steps")  # fmt: skip


if __name__ == "__main__":
    LightningCLI(Model, save_config_callback=None)
