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
    assert not is_quoted("error: No space left on device", 7)
