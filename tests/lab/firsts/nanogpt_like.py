"""A GPT trained as in nanoGPT: settings are globals, which a file and `--name=value` override by exec."""

import math
import os
import sys
from ast import literal_eval
from contextlib import nullcontext
from pathlib import Path

import torch
from torch.distributed import destroy_process_group, init_process_group
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

backend = "nccl"
device = "cuda"
max_iters = 4
gradient_accumulation_steps = 8
batch_size = 2
block_size = 8
vocab_size = 16
n_embd = 8
learning_rate = 1e-2
names = [name for name, value in globals().items() if isinstance(value, int | float | str)]
for argument in sys.argv[1:]:
    name, equals, value = argument.removeprefix("--").partition("=")
    if equals:
        assert name in names, f"unknown setting {name}"
        kind = type(globals()[name])
        globals()[name] = value if kind is str else kind(literal_eval(value))
    else:
        exec(Path(argument).read_text())

ddp = int(os.environ.get("RANK", "-1")) != -1
if ddp:
    init_process_group(backend=backend)
    rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    world_size = int(os.environ["WORLD_SIZE"])
    if "cuda" in device:
        device = f"cuda:{local_rank}"
        torch.cuda.set_device(device)
    assert gradient_accumulation_steps % world_size == 0
    gradient_accumulation_steps //= world_size
else:
    rank, world_size = 0, 1
torch.manual_seed(1337 + rank)


class Block(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(vocab_size, n_embd)
        self.attend = torch.nn.Linear(n_embd, 3 * n_embd)
        self.head = torch.nn.Linear(n_embd, vocab_size)

    def forward(self, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        query, key, value = self.attend(self.embed(tokens)).split(n_embd, dim=2)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return functional.cross_entropy(self.head(mixed).flatten(0, 1), targets.flatten())


def get_batch() -> tuple[torch.Tensor, torch.Tensor]:
    start = torch.randint(vocab_size, (batch_size, 1))
    line = (start + torch.arange(block_size + 1)) % vocab_size
    return line[:, :-1].to(device), line[:, 1:].to(device)


model = Block().to(device)
if ddp:
    model = DistributedDataParallel(model, device_ids=[local_rank] if "cuda" in device else None)
optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
for _ in range(max_iters):
    for step in range(gradient_accumulation_steps):
        is_last = step == gradient_accumulation_steps - 1
        with model.no_sync() if ddp and not is_last else nullcontext():
            loss = model(*get_batch()) / gradient_accumulation_steps
            loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
assert math.isfinite(loss.item())
norm = sum(parameter.detach().norm().item() for parameter in model.parameters())
print(
    f"rank {rank} of {world_size}: {gradient_accumulation_steps} steps of {batch_size}, {norm:.6f}"
)
if ddp:
    destroy_process_group()
