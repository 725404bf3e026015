"""The first failure ends a job of eight ranks on four hosts in seconds, and is explained."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from labkit.lab import Lab

from .failing import JOB, KINDS, LAUNCHERS, NODE, RANK, SPAWNING, limited, strike
from .orch import Launch, copies, processes_of_runs, record, run_name, wait_until, write

pytestmark = [pytest.mark.lab, pytest.mark.torch]

# Every launcher, every kind, and their risky combinations; ORCH_VERDICTS=all adds the rest.
SOME = {
    ("torchrun", "raise"), ("torchrun", "SIGKILL"), ("torchrun", "vanish"), ("fabric", "exit"),
    ("direct", "memory"), ("direct", "SIGSEGV"), ("python", "raise"),
}  # fmt: skip
CASES = [
    (launcher, kind)
    for launcher in LAUNCHERS
    for kind in KINDS
    if os.environ.get("ORCH_VERDICTS") == "all" or (launcher, kind) in SOME
]
SECONDS = 15.0  # until no process of the run is left. An idle machine needs less than 5 s; after a
# node has vanished, the time it may be unreachable is added.
NODE_TIMEOUT = 4.0


class Ended(NamedTuple):
    """How a launch ended: exit code, run.json, the output of orch, and the seconds since the failure."""

    code: int
    record: dict[str, Any]
    said: str
    seconds: float


def fail(lab: Lab, folder: Path, launcher: str, kind: str, *words: str, rank: int = RANK) -> Ended:
    """Launch on four hosts, make a rank fail, and wait for the end."""
    write(folder, "job.py", JOB)
    script = folder / "job.py"
    options = ["--launcher", launcher, "--nproc", "2", "--preflight", "off"]
    if launcher == "python":
        script = write(folder, "spawn.py", SPAWNING)
    if kind == "vanish":
        options += ["--node-timeout", str(NODE_TIMEOUT), "--connect-timeout", "2"]
    for node in lab.nodes:
        for name in ("fail", "failed-at"):
            (lab.files(node) / "tmp" / name).unlink(missing_ok=True)
    with Launch(lab, *options, *words, script, str(rank)) as running:
        running.wait_for_lines(4 if launcher == "python" else 8, "going")
        failed_at = strike(lab, kind, rank)
        wait_until(lambda: processes_of_runs(lab) == [], 60)
        seconds = time.time() - failed_at
        code = running.end(60)
        return Ended(code, record(lab, run_name(running.err)), running.err, seconds)


EXPECTED: dict[str, tuple[int, str]] = {
    "raise": (1, "exited with 1"),
    "exit": (3, "exited with 3"),
    "SIGKILL": (137, "was killed by SIGKILL"),
    "SIGSEGV": (139, "was killed by SIGSEGV"),
    "memory": (137, "was killed by SIGKILL"),
}


@pytest.mark.parametrize(("launcher", "kind"), CASES)
def test_first_failure_ends_the_job_and_is_explained(
    make_lab: Callable[..., Lab], tmp_path: Path, launcher: str, kind: str
) -> None:
    lab = make_lab(4)
    recorded = ("--env", "RECORDED=1") if launcher == "torchrun" else ()
    # If two ranks are dead when mp.spawn checks, it reports only the first, even if that was a victim.
    rank = 4 if launcher == "python" else RANK
    with limited(lab, kind):
        ended = fail(lab, tmp_path / "job", launcher, kind, *recorded, rank=rank)
    print(f"\n{launcher} {kind}: {ended.seconds:.2f} s\n{ended.said}")
    verdict = ended.record["verdict"]
    if kind == "vanish":
        assert ended.code == 1
        assert (verdict["node"], verdict["rank"]) == (NODE, None)
        assert ended.seconds < NODE_TIMEOUT + SECONDS
        return
    assert ended.seconds < SECONDS
    assert (verdict["node"], verdict["rank"]) == (NODE, rank)
    assert verdict["victims"] == [n for n in range(8) if n != rank] or launcher == "python"
    if launcher == "python":
        assert ended.code == 1
    else:
        code, how = EXPECTED[kind]
        assert (ended.code, verdict["how"]) == (code, f"rank {RANK} on {NODE} {how}")
    if kind == "raise":
        assert "ValueError: this batch is not like the others" in verdict["error"]
        if launcher != "python":
            assert verdict["place"] == "job.py:10 in fail"
    if launcher != "python":
        assert (verdict["signature"] == "memory.oom-killer") == (kind == "memory")
    assert ("oom_kill" in verdict["evidence"] or "lack of memory" in verdict["evidence"]) == (
        kind == "memory"
    )
    assert kind != "memory" or "reached its limit of 1.7 GB" in verdict["cause"]
    assert copies(lab, ended.record["plan"]["run"]).exists()
    for fact in (verdict["how"], verdict["fix"][:40], verdict["command"]):
        assert fact in ended.said


@pytest.mark.parametrize("seed", range(int(os.environ.get("ORCH_RANDOM_FAILURES", "2"))))
def test_first_failure_is_the_verdict_for_every_kind_and_time(
    make_lab: Callable[..., Lab], tmp_path: Path, seed: int
) -> None:
    drawn = random.Random(seed)
    rank, kind = (
        drawn.randrange(8),
        drawn.choice(["raise", "exit", "SIGKILL", "SIGSEGV", "SIGABRT"]),
    )
    launcher = drawn.choice(["torchrun", "fabric", "direct", "direct", "direct"])
    ended = fail(make_lab(4), tmp_path / "job", launcher, kind, rank=rank)
    print(f"\n{seed} {launcher} {kind} of {rank}: {ended.seconds:.2f} s\n{ended.said}")
    verdict = ended.record["verdict"]
    assert (verdict["rank"], verdict["node"]) == (rank, f"node{rank // 2}")
    assert verdict["victims"] == [number for number in range(8) if number != rank]
    assert ended.seconds < SECONDS


def test_vanished_node_is_named_although_peers_fail_first(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = make_lab(4)
    for node in lab.nodes:  # connections time out after 1 or 2 s, not 15 minutes
        done = lab.run(["sysctl", "-w", "net.ipv4.tcp_retries2=3"], node=node)
        assert done.returncode == 0, done.stderr
    ended = fail(lab, tmp_path / "job", "direct", "vanish", "--node-timeout", "60")
    print(f"\n{ended.seconds:.2f} s\n{ended.said}")
    assert "a rank failed" in ended.said
    assert ended.record["summary"] == f"{NODE} vanished: neither orch nor the other nodes reach it"
    assert ended.record["verdict"]["victims"] == [0, 1, 2, 3, 6, 7]
