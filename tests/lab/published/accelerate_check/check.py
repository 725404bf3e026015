"""Accelerate's self-test in shape: state, seeds, data loaders, and a training as on one process."""

import torch
from accelerate import Accelerator
from accelerate.utils import gather, set_seed, synchronize_rng_states
from torch.utils.data import DataLoader, TensorDataset

_LENGTH, _BATCH = 64, 8


def check_state(accelerator: Accelerator) -> None:
    ranks = gather(torch.tensor([accelerator.process_index])).tolist()
    assert ranks == list(range(accelerator.num_processes)), ranks
    with accelerator.main_process_first():
        accelerator.print(f"{accelerator.state.distributed_type.value}: {ranks}")


def check_seeds(accelerator: Accelerator) -> None:
    torch.manual_seed(accelerator.process_index)
    synchronize_rng_states(["torch"])
    states = gather(torch.get_rng_state().unsqueeze(0))
    assert all(torch.equal(state, states[0]) for state in states)


def check_loaders(accelerator: Accelerator) -> None:
    for is_split in (False, True):
        accelerator.dataloader_config.split_batches = is_split
        size = _BATCH * accelerator.num_processes if is_split else _BATCH
        loader = accelerator.prepare(DataLoader(torch.arange(_LENGTH), batch_size=size))
        seen = torch.cat([gather(batch) for batch in loader]).sort().values
        assert torch.equal(seen, torch.arange(_LENGTH)), seen


def train(accelerator: Accelerator | None, processes: int) -> float:
    """Train a line; return its slope. One process sees the batches of all together."""
    set_seed(42)
    inputs = torch.linspace(-1, 1, _LENGTH).unsqueeze(1)
    size = _BATCH if accelerator else _BATCH * processes
    loader = DataLoader(TensorDataset(inputs, 2 * inputs + 3), batch_size=size)
    model: torch.nn.Module = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    if accelerator:
        loader, model, optimizer = accelerator.prepare(loader, model, optimizer)
    for _ in range(3):
        for given, wanted in loader:
            loss = torch.nn.functional.mse_loss(model(given), wanted)
            accelerator.backward(loss) if accelerator else loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    unwrapped = accelerator.unwrap_model(model) if accelerator else model
    return unwrapped.weight.item()


def main() -> None:
    accelerator = Accelerator()
    check_state(accelerator)
    check_seeds(accelerator)
    check_loaders(accelerator)
    accelerator.dataloader_config.split_batches = False
    together, alone = train(accelerator, 1), train(None, accelerator.num_processes)
    assert abs(together - alone) < 1e-5, (together, alone)
    print(f"rank {accelerator.process_index} of {accelerator.num_processes}: trained the same")
    accelerator.end_training()


if __name__ == "__main__":
    main()
