"""Hugging Face's Trainer: arguments by HfArgumentParser, and a model with a loss of its own."""

import torch
from torch.utils.data import Dataset
from transformers import HfArgumentParser, Trainer, TrainingArguments


class Line(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        found = self.layer(inputs)
        return {"loss": (found - labels).pow(2).mean(), "logits": found}


class Sums(Dataset):
    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        inputs = torch.full((4,), index / 64)
        return {"inputs": inputs, "labels": inputs.sum(0, keepdim=True)}


def main() -> None:
    (arguments,) = HfArgumentParser(TrainingArguments).parse_args_into_dataclasses()
    trainer = Trainer(model=Line(), args=arguments, train_dataset=Sums())
    done = trainer.train()
    print(f"rank {arguments.process_index} of {arguments.world_size}: {done.global_step} steps")


if __name__ == "__main__":
    main()
