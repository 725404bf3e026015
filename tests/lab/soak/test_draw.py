"""A seed decides all of a draw, and every fault is drawn by some."""

from __future__ import annotations

from .draw import draw


def test_draw_of_a_seed_is_reproducible() -> None:
    assert [draw(seed) for seed in range(200)] == [draw(seed) for seed in range(200)]


def test_draws_without_torch_have_no_torchrun() -> None:
    drawn = [draw(seed, has_torch=False) for seed in range(300)]
    assert {one.job.launcher for one in drawn} == {"direct"}
    assert not {fault.target for one in drawn for fault in one.faults} & {"launcher", "shim"}


def test_thousand_draws_include_every_fault_at_every_time() -> None:
    faults = [fault for seed in range(1000) for fault in draw(seed).faults]
    assert len({(fault.kind, fault.target) for fault in faults}) == 47
    assert {fault.phase for fault in faults} == {
        "before", "connect", "running", "end", "exit", "stop"
    }  # fmt: skip


def test_faults_hit_hosts_of_the_job() -> None:
    for seed in range(300):
        drawn = draw(seed)
        assert {fault.where for fault in drawn.faults} <= {"ctl", *drawn.job.names}
        assert all(rank in drawn.job.ranks for rank in drawn.job.endings)
