"""A diagnosis in plain words."""

from __future__ import annotations

from orchestrator.diagnose import Source, diagnose
from orchestrator.diagnose.across import folded
from orchestrator.diagnose.text import lines

MEMORY = b"""\
Traceback (most recent call last):
  File "train.py", line 88, in step
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.22 GiB.
"""
VICTIM = b"RuntimeError: Connection closed by peer [10.0.0.17]:4711\n"


def test_the_cause_is_told_in_full_and_its_effects_in_a_line() -> None:
    sources = [(Source("rank-1.err", 1, "node0"), [b"ok\n" + MEMORY])]
    sources += [(Source(f"rank-{rank}.err", rank, "node1"), [VICTIM]) for rank in (2, 3)]
    assert lines(diagnose(sources)) == [
        "out of GPU memory · rank 1 on node0",
        "  torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.22 GiB.  (rank-1.err:4)",
        "  at train.py:88 in step",
        "  why: the batch is too large for this GPU, or another process holds memory on it",
        "  → a smaller batch, or gradient accumulation; see `nvidia-smi` for other processes",
        "  before a launch: orch preflight --only gpu.busy",
        "gloo lost a peer · 2 ranks (2-3) on node1, after a rank that died",
    ]


def test_a_cascade_is_told_in_full_where_nothing_better_is_found() -> None:
    told = lines(diagnose([(Source("job.log"), [VICTIM])]))
    assert told[0] == "gloo lost a peer · job.log"
    assert "  → look at the rank that failed first" in told


def test_a_log_in_which_nothing_is_known_says_so() -> None:
    assert lines(diagnose([(Source("job.log"), [b"step 1\n"])])) == [
        "nothing was found that this program knows"
    ]


def test_ranks_are_folded() -> None:
    assert folded([]) == ""
    assert folded([3]) == "3"
    assert folded([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"
