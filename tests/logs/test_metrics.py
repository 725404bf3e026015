from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.logs.metrics import LastMetrics, metrics


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (
            "epoch 3 step 120/1000 loss=0.3421 acc: 97.1% lr 1e-4 {'loss': 0.34}",
            "epoch 3, step 120/1000, loss 0.3421, acc 97.1%, lr 1e-4",
        ),
        (  # Lightning's bar
            "Epoch 0:  50%|█████     | 500/1000 [00:05<00:05, 98.21it/s, v_num=3, train_loss=0.234]",
            "epoch 0, step 500/1000, speed 98.21it/s, train_loss 0.234",
        ),
        (" 45%|████▌     | 45/100 [00:10<00:12,  4.47it/s]", "step 45/100, speed 4.47it/s"),  # tqdm
        (  # Hugging Face's Trainer
            "{'loss': 2.3415, 'grad_norm': 1.234, 'learning_rate': 4.9e-05, 'epoch': 0.02}",
            "loss 2.3415, grad_norm 1.234, learning_rate 4.9e-05, epoch 0.02",
        ),
        (  # nanoGPT
            "step 0: train loss 10.9898, val loss 10.9909",
            "step 0, train loss 10.9898, val loss 10.9909",
        ),
        ("iter 10: loss 9.9012, time 182.34ms, mfu 12.00%", "iter 10, loss 9.9012, mfu 12.00%"),
        (  # pytorch/examples: mnist, imagenet
            "Train Epoch: 1 [640/60000 (1%)]\tLoss: 2.300039",
            "train epoch 1, loss 2.300039",
        ),
        (
            "Test set: Average loss: 0.0434, Accuracy: 9857/10000 (99%)",
            "average loss 0.0434, accuracy 9857/10000",
        ),
        (
            "Epoch: [0][  10/5005]\tTime  0.412 ( 1.101)\tLoss 6.9123e+00 (7.0102e+00)\tAcc@1   0.00",
            "epoch 0, loss 6.9123e+00, acc@1 0.00",
        ),
        (
            "Epoch [3/10], Step [100/600], Loss: 0.3012",
            "epoch 3/10, step 100/600, loss 0.3012",
        ),
        (  # torchtitan
            "[titan] 2026-01-31 09:30:00,125 - root - INFO - step:  1  loss: 12.2551  mfu: 10.21%",
            "step 1, loss 12.2551, mfu 10.21%",
        ),
        (  # Megatron
            " iteration       10/     100 | learning rate: 1.000E-04 | lm loss: 1.043212E+01 |",
            "iteration 10/100, learning rate 1.000E-04, lm loss 1.043212E+01",
        ),
        (  # DeepSpeed
            "[2024-01-01 00:00:00,123] [INFO] [logging.py:96:log_dist] [Rank 0] step=10, lr=[1e-05]",
            "step 10, lr 1e-05",
        ),
        (
            "step:  1  memory:  3.60GiB(4.55%)  tps: 1,234",
            "step 1, memory 3.60GiB, tps 1,234",
        ),
        ("loss: tensor(0.3421, device='cuda:0')", "loss 0.3421"),
        ("step=5 loss=nan", "step 5, loss nan"),
        ("MeanSquaredError: 0.25", "meansquarederror 0.25"),
        ("train_err=0.25", "train_err 0.25"),
    ],
)
def test_metrics_of_common_training_loops(line: str, found: str) -> None:
    assert ", ".join(f"{name} {number}" for name, number in metrics(line)) == found


@pytest.mark.parametrize(
    "line",
    [
        "2026-01-31 10:22:33,123 INFO: 5 things",
        "time=10:22:33 date=2026-01-31",
        "connected to 10.0.0.1:29500 and node1:29500",
        "NCCL INFO Bootstrap : Using eth0:10.0.0.1<0>",
        "torch==2.9.1 python=3.11.7",
        'File "/data/x.py", line 12, in main',
        "http://1.2.3.4:8080/x=5",
        "rank=3 world_size=64 pid=1234 cuda:0",
        "took 5 s",
        "err=5 errno=111",
        "error: 0.5",
        "/x/y.py:12: UserWarning: lr 0.1 is too large, loss=3",
        "WARNING:root:loss=3",
        "[rank0]:[W1130 12:00:00.125 ProcessGroupNCCL.cpp:12] loss=3",
        "W1130 12:00:00.125000 123 torch/distributed/run.py:766] loss=3",
        "RuntimeError: step 3 failed, loss=nan",
        "torch.OutOfMemoryError: batch=3",
        "Warning: step 3 was slow",
        "",
    ],
)
def test_metrics_ignores_other_numbers(line: str) -> None:
    assert metrics(line) == ()


def test_metrics_returns_at_most_six() -> None:
    assert len(metrics(" ".join(f"m{n}x={n}" for n in range(9)))) == 6


@given(st.text(max_size=200))
def test_metrics_names_are_unique(line: str) -> None:
    found = metrics(line)
    assert len({name for name, _ in found}) == len(found) <= 6


@pytest.mark.parametrize(
    "unit", ["a=1 ", "train ", "a.", "\t", "loss \t", "1", "1,111", "a/b", "[ "]
)
def test_metrics_is_fast(unit: str) -> None:
    line = "loss " + unit * 100_000
    began = time.thread_time()
    metrics(line)
    assert time.thread_time() - began < 0.1


def read(*lines: str) -> str:
    last = LastMetrics()
    for line in lines:
        last.read(line)
    return " ".join(f"{name}={value}" for name, value in last.shown())


def test_last_metrics_keeps_known_names() -> None:
    assert read("step=1 loss=2", "val_loss=3", "step=2 loss=1") == "step=2 loss=1 val_loss=3"


def test_last_metrics_keeps_repeated_names() -> None:
    assert read("workers=4", "tps=1 loss=2") == "loss=2"
    assert read("workers=4", "tps=1 loss=2", "tps=3 loss=2") == "tps=3 loss=2"


def test_last_metrics_without_known_names_shows_the_last_line() -> None:
    assert read("a=1", "b=2") == "b=2"


@given(st.lists(st.sampled_from([f"m{n}={n}" for n in range(40)] + ["loss=1", "x"]), max_size=99))
def test_last_metrics_shows_the_six_most_recent(
    lines: list[str],
) -> None:
    last = LastMetrics()
    for line in lines:
        last.read(line)
    assert len(last.shown()) <= 6
    if "loss=1" in lines[-6:]:
        assert ("loss", "1") in last.shown()
