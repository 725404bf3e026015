"""What the program recovered from is no cause: the lines after it show that it continued."""

from __future__ import annotations

import pytest

from orchestrator.diagnose import Diagnosis, Source, diagnose
from orchestrator.diagnose.scan import BLOCK

STEPS = "".join(f"step {number} loss 0.{number}\n" for number in range(30))
RAISED = """Traceback (most recent call last):
  File "/home/user/job/train.py", line 88, in step
RuntimeError: bad batch
"""
REFUSED = "connect to 10.0.0.7 failed: No route to host\n"


def read(*texts: str) -> Diagnosis:
    return diagnose([(Source(f"log{n}"), [text.encode()]) for n, text in enumerate(texts)])


def test_line_followed_by_progress_is_no_verdict() -> None:
    found = read(REFUSED + STEPS)
    assert found.verdict is None
    assert [(hit.signature.id, hit.recovered) for hit in found.hits] == [("net.no-route", True)]


def test_line_after_progress_is_the_verdict() -> None:
    verdict = read(STEPS + REFUSED).verdict
    assert verdict is not None and verdict.signature.id == "net.no-route"


def test_line_that_comes_again_at_the_end_is_the_verdict() -> None:
    assert read(REFUSED + STEPS + REFUSED).verdict is not None


def test_progress_of_another_block_counts() -> None:
    assert read(REFUSED + "x" * 80 + "\n" + "y\n" * BLOCK + STEPS).verdict is None


def test_progress_of_another_file_does_not_count() -> None:
    assert read(REFUSED, STEPS).verdict is not None


def test_two_lines_of_progress_are_too_few() -> None:
    assert read(f"{REFUSED}step 1\nstep 2\n").verdict is not None


def test_uncaught_exception_needs_more_progress() -> None:
    few = "".join(STEPS.splitlines(keepends=True)[:10])
    assert read(RAISED + few).verdict is not None
    assert read(RAISED + STEPS).verdict is None


@pytest.mark.parametrize(
    "success",
    [
        "[default] worker group successfully finished. Waiting 300 seconds for other agents to finish.",
        "`Trainer.fit` stopped: `max_epochs=3` reached.",
        "Training completed. Do not forget to share your model",
    ],
)
def test_success_takes_a_failure_of_an_earlier_attempt_back(success: str) -> None:
    assert read(f"{RAISED}restarting\n{success}\n").verdict is None


def test_progress_bars_count() -> None:
    bars = "\r".join(f" 12%|#2 | {number}/990 [00:0{number}<01:00, 3.1it/s]" for number in range(5))
    assert read(REFUSED + bars).verdict is None


def test_later_failure_of_another_kind_is_the_verdict() -> None:
    verdict = read(REFUSED + STEPS + RAISED).verdict
    assert verdict is not None and verdict.signature.id == "python.exception"


@pytest.mark.parametrize(
    "text",
    [
        "Cannot import flash_attn: x.so: undefined symbol: _Z1f. Falling back to SDPA.",
        "Batch size 64 failed with CUDA out of memory, trying batch size 48",
        "No module named 'apex': No space left on device (optional)",
        "Error: [Errno 5] Input/output error, will retry in 3 s",
    ],
)
def test_line_that_announces_a_retry_or_fallback_is_no_failure(text: str) -> None:
    assert read(f"{text}\n").hits == ()


def test_line_that_gives_up_after_retrying_is_the_verdict() -> None:
    text = "retrying: [Errno 5] Input/output error; giving up\n"
    assert read(text).verdict is not None


PULL_FAILED = 'Warning  Failed  58s  kubelet  Failed to pull image "registry/train:1": timeout\n'
PULLED = 'Normal  Pulled  10s  kubelet  Successfully pulled image "registry/train:1" in 1s\n'


def test_same_thing_that_succeeds_later_is_no_verdict() -> None:
    assert read(PULL_FAILED + PULLED).verdict is None


def test_same_thing_that_fails_again_is_the_verdict() -> None:
    verdict = read(PULL_FAILED + PULLED + PULL_FAILED).verdict
    assert verdict is not None and verdict.signature.id == "kubernetes.image"


def test_success_of_another_thing_leaves_the_verdict() -> None:
    assert read("Reason: OOMKilled\n" + PULLED).verdict is not None
