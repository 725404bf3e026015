"""The cost of a live run without output, on the controller and on a node."""

from __future__ import annotations

import select
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from labkit.lab import Lab

from benchkit.measure import ORCH, BenchError
from benchkit.numbers import Bound, Result, Series

LINE = b"now I sleep"
SETTLE = 5.0
WINDOW = 30.0
_SCRIPT = f"import time\nprint({LINE.decode()!r}, flush=True)\ntime.sleep(1000)\n"
_RANKS = 4


def run(lab: Lab, runs: int) -> Result:
    """Measure on the first two hosts, two ranks on each, `runs` windows of one run."""
    nodes = lab.nodes[:2]
    job = lab.dir / "quiet"
    job.mkdir()
    (job / "sleep.py").write_text(_SCRIPT)
    words = ["launch", "-i", lab.inventory, "--nodes", ",".join(nodes), "--nproc", "2"]
    process = lab.popen(
        [*ORCH, *map(str, words), "--launcher", "direct", str(job / "sleep.py")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    shares: dict[str, list[float]] = {place: [] for place in ("ctl", *nodes)}
    try:
        _await_lines(process)
        time.sleep(SETTLE)
        for _ in range(runs):
            before = {node: consumed(_ours(lab, node)) for node in nodes}
            before["ctl"] = consumed({process.pid})
            began = time.monotonic()
            time.sleep(WINDOW)
            seconds = time.monotonic() - began
            for place, then in before.items():
                now = consumed(set(then))
                spent = sum(now[pid] - then[pid] for pid in then)
                shares[place].append(100 * spent / seconds)
                if place != "ctl" and _ours(lab, place) != set(then):
                    raise BenchError(f"{place}: orch started or ended processes in a quiet run")
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    busiest = tuple(max(node) for node in zip(*(shares[node] for node in nodes), strict=True))
    controller = tuple(shares["ctl"])
    return Result(
        "quiet",
        f"a live run of {_RANKS} sleeping ranks on 2 hosts, {WINDOW:g} s at a time",
        (
            Series("orch on the controller", "CPU", "% of a core", controller),
            Series("orch and its sshd on a node", "CPU", "% of a core", busiest),
        ),
        (
            Bound("orch on the controller", "% of a core", 0.5, controller),
            Bound("orch on the busier node", "% of a core", 0.3, busiest),
        ),
    )


def _await_lines(process: subprocess.Popen[bytes], seconds: float = 60.0) -> None:
    """Return when every rank has printed its line."""
    assert process.stdout is not None
    deadline, seen = time.monotonic() + seconds, b""
    while seen.count(LINE) < _RANKS:
        left = max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([process.stdout], [], [], left)
        piece = process.stdout.read1() if ready else b""  # type: ignore[attr-defined]
        if not piece:
            raise BenchError(f"the ranks do not start: {seen.decode(errors='replace')}")
        seen += piece


def _ours(lab: Lab, node: str) -> set[int]:
    """Return the processes of orch on a node, without the ranks: agent, supervisor, and the sshd of the
    login.
    """
    return {
        process.pid
        for process in lab.processes(node)
        if any("/orch/node/node-" in word for word in process.argv)
        or (
            process.argv
            and process.argv[0].startswith("sshd")
            and "listener" not in process.argv[0]
        )
    }


def consumed(pids: set[int]) -> Mapping[int, float]:
    """Return the CPU seconds of each process so far, from the schedstat of its threads."""
    return {
        pid: sum(
            int(file.read_text().split()[0])
            for file in Path("/proc").glob(f"{pid}/task/*/schedstat")
        )
        / 1e9
        for pid in pids
    }
