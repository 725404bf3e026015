"""A mention of a failure, in settings or in texts to train on, is no failure."""

from __future__ import annotations

import pytest

from orchestrator.diagnose import Diagnosis, Source, diagnose
from orchestrator.diagnose.quoted import is_quoted


def read(text: str) -> Diagnosis:
    return diagnose([(Source("log"), [text.encode()])])


@pytest.mark.parametrize(
    "text",
    [
        '{"instruction": "How do I fix CUDA out of memory?", "output_length": 3}',
        "{'prompt': 'RuntimeError: CUDA error: device-side assert triggered', 'id': 7}",
        "  on_error: 'No space left on device'",
        'notes = "seen on gpu7: CUDA out of memory, use a smaller batch"',
    ],
)
def test_quoted_text_is_no_failure(text: str) -> None:
    assert read(f"{text}\n").hits == ()


@pytest.mark.parametrize(
    "text",
    [
        '{"message": "CUDA out of memory", "level": "error"}',
        '"message": "RuntimeError: CUDA out of memory"',
        "RuntimeError: 'weights' : CUDA out of memory",
        "OSError: [Errno 28] No space left on device: '/data/out'",
    ],
)
def test_what_a_program_said_is_a_failure(text: str) -> None:
    assert read(f"{text}\n").verdict is not None


def test_is_quoted_without_quotes_is_false() -> None:
    assert not is_quoted("error: No space left on device", 7, 30)


@pytest.mark.parametrize(
    "text",
    [
        "+ srun python train.py --on_oom 'CUDA out of memory'",
        "# if you see No space left on device, clean up",
        'Sample 3: Q: Why do I get "CUDA out of memory"? A: Lower the batch size.',
        "[sample] user: it died with No space left on device",
        "<|user|> why No space left on device? <|assistant|> The disk is full.",
        "see the note about `[Errno 28] No space left on device` there",
    ],
)
def test_command_dialogue_or_text_in_backquotes_is_no_failure(text: str) -> None:
    assert read(f"{text}\n").hits == ()


@pytest.mark.parametrize(
    "text",
    [
        "torch.distributed.DistBackendError: [1] is late: wait timeout after 10ms, keys: /default_pg/0",
        "user@node7: Permission denied (publickey,password).",
        "sample-node-1: OSError: [Errno 28] No space left on device",
        'time="2026-12-01T02:17:16Z" level=error msg="write /x: no space left on device"',
    ],
)
def test_exception_or_host_is_no_setting_and_no_dialogue(text: str) -> None:
    assert read(f"{text}\n").verdict is not None
