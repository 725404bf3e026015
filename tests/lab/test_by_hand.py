"""The time that a failure costs without orch: the same job, started by hand on each host.

With ORCH_BY_HAND=SECONDS every launcher and every kind of failure is measured, and the job by hand may
take that long; docs/performance.md has the table. By default only a vanished node is tested: a process that
dies on a live host closes its connections, so gloo's ranks end one after the other without orch, too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from labkit.lab import Lab

from .failing import JOB, KINDS, LAUNCHERS, NODE, RANK, SPAWNING, limited, strike
from .orch import processes_of_runs, wait_until, write
from .test_verdict import fail

pytestmark = [pytest.mark.lab, pytest.mark.torch]

WHOLE = "ORCH_BY_HAND" in os.environ
BOUND = float(os.environ.get("ORCH_BY_HAND", "30"))
MODULES = {"torchrun": "torch.distributed.run", "fabric": "lightning.fabric.cli"}


def commands(launcher: str, main: str, number: int) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Yield the commands for host `number` of four, with their environment."""
    meeting = {"MASTER_ADDR": main, "MASTER_PORT": "29500"}
    script = ["job.py", str(RANK)]
    if launcher == "torchrun":
        place = ["--nnodes=4", "--nproc-per-node=2", f"--node-rank={number}"]
        place += [f"--master-addr={main}", "--master-port=29500"]
        yield ["-m", MODULES[launcher], *place, *script], {}
    elif launcher == "fabric":
        place = ["--num-nodes=4", "--accelerator=cpu", "--devices=2", f"--node-rank={number}"]
        place += [f"--main-address={main}", "--main-port=29500", "--"]
        yield ["-m", MODULES[launcher], *place, *script], {}
    elif launcher == "python":
        yield ["spawn.py", str(RANK)], {**meeting, "NODE_RANK": str(number)}
    else:
        for local in range(2):
            rank = 2 * number + local
            names = {"RANK": str(rank), "LOCAL_RANK": str(local), "WORLD_SIZE": "8"}
            yield script, {**meeting, **names}


@contextmanager
def started_by_hand(lab: Lab, launcher: str) -> Iterator[list[Path]]:
    """Run the job on all hosts; yield their output files. Kills it with SIGKILL at the end."""
    with ExitStack() as started:
        logs: list[Path] = []
        for number, node in enumerate(lab.nodes):
            home = lab.files(node) / "home"
            write(home, "job.py", JOB)
            write(home, "spawn.py", SPAWNING)
            for words, names in commands(launcher, lab.address("node0"), number):
                logs.append(home / f"log-{len(logs)}")
                log = started.enter_context(logs[-1].open("wb"))
                process = lab.popen(
                    [sys.executable, *words],
                    node=node,
                    # Tests find the processes of a run by this mark.
                    env={"ORCH_RUN": "by-hand", "GLOO_SOCKET_IFNAME": "eth0", **names},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
                started.callback(process.wait, 20)
        started.callback(_kill, lab)
        yield logs


def _kill(lab: Lab) -> None:
    for node in lab.nodes:
        for process in lab.processes(node):
            if b"ORCH_RUN=by-hand" in process.environ.split(b"\0"):
                with suppress(ProcessLookupError):  # it has already ended
                    os.kill(process.pid, signal.SIGKILL)


def fail_by_hand(lab: Lab, launcher: str, kind: str, bound: float) -> tuple[float, int]:
    """Start the job by hand and make a rank fail; return the seconds until no process was left, at most
    `bound`, and the number of processes left then.
    """
    with started_by_hand(lab, launcher) as logs:
        wait_until(lambda: sum(log.read_text().count("going") for log in logs) == 8, 60)
        with limited(lab, kind):
            failed_at = strike(lab, kind)
            while (left := len(processes_of_runs(lab))) and time.time() < failed_at + bound:
                time.sleep(0.05)
            return time.time() - failed_at, left


CASES = [(launcher, kind) for launcher in LAUNCHERS for kind in KINDS]


@pytest.mark.parametrize(("launcher", "kind"), CASES if WHOLE else [("torchrun", "vanish")])
@pytest.mark.timeout(BOUND + 200)
def test_failure_by_hand_and_with_orch_is_timed(
    make_lab: Callable[..., Lab], tmp_path: Path, launcher: str, kind: str
) -> None:
    lab = make_lab(4)
    with limited(lab, kind):
        ended = fail(lab, tmp_path / "job", launcher, kind)
    seconds, left = fail_by_hand(make_lab(4), launcher, kind, BOUND)
    by_hand = f"{left} processes left after {seconds:.1f}" if left else f"{seconds:.1f}"
    print(f"\n{launcher} {kind}: with orch {ended.seconds:.1f} s, by hand {by_hand} s")
    assert ended.record["verdict"]["node"] == NODE
    if kind == "vanish":  # the other hosts are not notified
        assert ended.seconds < seconds
        assert left >= 6 or WHOLE  # their ranks, and more; TCP times out after 15 minutes
