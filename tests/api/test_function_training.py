"""Training as a function: the shapes of torchrunx's own tests and examples, and those of this project."""

from __future__ import annotations

import os
import re
import resource
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

import cloudpickle
import pytest

import orchestrator as orch

pytestmark = [pytest.mark.cluster, pytest.mark.torch]

cloudpickle.register_pickle_by_value(sys.modules[__name__])

in_lane = pytest.mark.skipif(
    not os.environ.get("ORCH_RESULTS"), reason="not asked for: ORCH_RESULTS=all"
)

EXAMPLES = Path(__file__).parents[2] / "examples"


def free_port() -> int:
    """Return a port that the runs of other tests, in other homes, do not choose as well."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def run(function: Any, *args: Any, **options: Any) -> orch.Results[Any]:
    return orch.run(
        function,
        *args,
        **{
            "local": 2,
            "launcher": "torchrun",
            "main_port": free_port(),
            "preflight": "off",
            **options,
        },
    )


def matmul() -> Any:
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo")
    weights = torch.rand((100, 100)) if dist.get_rank() == 0 else torch.zeros((100, 100))
    dist.broadcast(weights, 0)
    product = torch.matmul(torch.rand((500, 100)), weights)
    dist.all_reduce(product, op=dist.ReduceOp.SUM)
    print("worker rank:", dist.get_rank(), flush=True)
    dist.destroy_process_group()
    return product.detach()


def test_all_ranks_return_the_reduced_tensor_and_have_logs_of_their_own(
    empty_project: Path,
) -> None:
    import torch

    results = run(matmul)
    assert torch.equal(results.rank(0), results.rank(1))
    assert results.rank(0).shape == (500, 100)
    assert [len(values) for values in results.by_node.values()] == [1, 1]
    (done,) = orch.runs()
    for rank in (0, 1):
        lines = [line.text for line in done.logs(rank=rank, stream="stdout")]
        assert lines == [f"worker rank: {rank}"]


def test_error_of_a_worker_is_raised_by_the_launcher(empty_project: Path) -> None:
    def fail() -> NoReturn:
        raise ValueError("abcdefg")

    with pytest.raises(ValueError, match="abcdefg"):
        run(fail, local=1)


def digits(epochs: int) -> float:
    """Train as examples/digits_ddp.py does, and return its accuracy."""
    import argparse

    import digits_ddp
    import torch
    from digits import load, network

    device = digits_ddp.join()
    torch.manual_seed(0)
    training, held_out = load()
    args = argparse.Namespace(batch_size=64, lr=2e-3)
    world_size = int(os.environ["WORLD_SIZE"])
    sampler: Any = torch.utils.data.DistributedSampler(training, seed=0)
    batches: Any = torch.utils.data.DataLoader(
        training, args.batch_size // world_size, sampler=sampler
    )
    model = torch.nn.parallel.DistributedDataParallel(network().to(device))
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        digits_ddp.train(model, optimizer, batches, device)
    share, _ = digits_ddp.accuracy(model.module, held_out, device)
    torch.distributed.destroy_process_group()
    return share


@in_lane
def test_digits_as_a_function_are_as_accurate_as_the_script(
    empty_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(EXAMPLES)
    launched = orch.launch(
        "digits_ddp.py", "--epochs", 1, local=2, launcher="torchrun", preflight="off",
        env={"OMP_NUM_THREADS": "1"}, main_port=free_port(),
    )  # fmt: skip
    output = "\n".join(line.text for line in launched.logs(rank=0))
    found = re.search(r"accuracy ([\d.]+) % on 360", output)
    assert found is not None, output
    results = run(digits, 1, env={"OMP_NUM_THREADS": "1"})
    assert {round(100 * share, 1) for share in results} == {float(found[1])}


@in_lane
def test_gigabyte_comes_back_without_a_copy_in_memory(empty_project: Path) -> None:
    import torch

    def make() -> Any:
        return torch.arange(1 << 28, dtype=torch.float32)  # 1 GiB

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tensor = run(make, local=1)[0]
    assert tensor.shape == (1 << 28,)
    assert [tensor[i].item() for i in (0, 12_345_678, -1)] == [0, 12_345_678, float(1 << 28)]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB
