"""Limits and clocks that explain a failure."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.control.looks.registry import questions

from .subjects import found, subject_of

FILES = "OSError: [Errno 24] Too many open files: '/data/x'\n"
THREADS = "RuntimeError: can't start new thread\n"


def limits(**more: Any) -> dict[str, Any]:
    return {
        "limits": {"open_files": [1024, 4096], "processes": [None, None], "locked_memory": [65536, 65536]},
        "user": "ann", "tasks": 40, "group": None, "refused": 0, "open_files": [900, 10**6], **more,
    }  # fmt: skip


def test_limit_on_open_files_is_named_and_raised_to_the_hard_one() -> None:
    subject = subject_of(FILES)
    assert questions(subject)["setting.limits"] == {
        "run": "r", "node": "n0", "attempt": 0, "rank": 0,
    }  # fmt: skip
    seen = found(subject, setting_limits=limits())
    assert seen.cause is not None
    assert seen.cause.text.startswith("it may open 1,024 files (`ulimit -n`)")
    assert "resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))" in seen.cause.fix
    assert seen.looked[0] == "ulimit -n of the rank: 1,024 (hard 4,096)"


def test_high_limit_on_open_files_points_to_a_leak() -> None:
    seen = found(subject_of(FILES), setting_limits=limits(limits={"open_files": [10**6, 10**6]}))
    assert seen.cause is not None
    assert "does not close what it opens" in seen.cause.text


def test_files_of_the_whole_machine_are_named() -> None:
    seen = found(subject_of(FILES), setting_limits=limits(open_files=[99_000, 100_000]))
    assert seen.cause is not None
    assert "the machine has 99,000 files open, of 100,000" in seen.cause.text


def test_control_group_that_refused_processes_is_named() -> None:
    group = {"path": "/box", "limit": 200, "used": 180}
    seen = found(subject_of(THREADS), setting_limits=limits(group=group, refused=3))
    assert seen.cause is not None
    assert "its control group /box may have 200 processes" in seen.cause.text
    assert "3 times" in seen.cause.text


def test_limit_on_processes_counts_if_the_user_is_near_it() -> None:
    near = limits(limits={"processes": [100, 100]}, tasks=99)
    seen = found(subject_of(THREADS), setting_limits=near)
    assert seen.cause is not None
    assert (
        "user ann may have 100 processes and threads here (`ulimit -u`), and has 99"
        in seen.cause.text
    )
    assert found(subject_of(THREADS), setting_limits=limits()).cause is None


def test_locked_memory_is_the_limit_of_rdma() -> None:
    text = "NCCL WARN Call to ibv_reg_mr failed\n"
    seen = found(subject_of(text), setting_limits=limits())
    assert seen.cause is not None
    assert seen.cause.text == "its limit (`ulimit -l`) was 65.5 kB when it started"


def test_unrecorded_limit_is_said_to_be_so() -> None:
    seen = found(subject_of(FILES), setting_limits=limits(limits={}))
    assert (seen.cause, seen.looked) == (None, ("limits of the rank: not recorded (ulimit -n)",))


LATE = "torch.distributed.elastic.rendezvous.api.RendezvousTimeoutError\n"


@pytest.mark.parametrize(
    ("step", "skews", "said"),
    [
        (3600.2, {"n0": 0.0}, "the clock of n0 was set by +3600.2 s while the rank ran"),
        (0.0, {"n0": 0.0, "n1": 21.0}, "the clocks of n0 and n1 are 21.0 s apart"),
        (0.1, {"n0": 0.0, "n1": 0.1}, None),
        (None, {"n0": 0.0}, None),
    ],
)
def test_clocks_that_were_set_or_differ_are_named(
    step: float | None, skews: dict[str, float], said: str | None
) -> None:
    seen = found(subject_of(LATE, skews=skews), setting_clock={"step": step})
    assert (seen.cause is None) == (said is None)
    assert said is None or (seen.cause is not None and said in seen.cause.text)
    assert seen.looked[0].startswith("clock: ")
