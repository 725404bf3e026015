"""A broken connection does not stop the run or lose output."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import Launch, copies, processes_of_runs, run_name, wait_until, write

pytestmark = pytest.mark.lab

COUNTING = """
import os, time
for number in range(400):
    print("line", number, flush=True)
    time.sleep(0.01)
"""


def test_lost_connection_is_reopened_without_losing_a_byte(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "count.py", COUNTING)
    with Launch(lab3, "--launcher", "direct", script) as running:
        running.wait_for_lines(1, "r1 node1 │ line 5")
        sessions = [p.pid for p in lab3.processes("node1") if p.argv and "sshd: root" in p.argv[0]]
        assert sessions
        for pid in sessions:
            os.kill(pid, signal.SIGKILL)
        assert running.end() == 0, running.err
    assert "node1" in running.err
    assert "reconnected" in running.err
    want = "".join(f"line {number}\n" for number in range(400))
    logs = copies(lab3, run_name(running.err))
    for rank in range(3):
        assert (logs / f"node{rank}/attempt-0/rank-{rank}.out").read_text() == want
    shown = [line.split("│ ")[1] for line in running.out if line.startswith("r1 ")]
    assert "".join(shown) == want


def test_killed_agent_is_restarted(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "count.py", COUNTING)
    with Launch(lab3, "--launcher", "direct", script) as running:
        running.wait_for_lines(1, "r2 node2 │ line 5")
        # The supervisor was forked from the agent and has its command line.
        agents = [p.pid for p in lab3.processes("node2") if "serve" in p.argv]
        (agent,) = [pid for pid in agents if _is_agent(pid)]
        os.kill(agent, signal.SIGKILL)
        assert running.end() == 0, running.err
    want = "".join(f"line {number}\n" for number in range(400))
    logs = copies(lab3, run_name(running.err))
    assert (logs / "node2/attempt-0/rank-2.out").read_text() == want


def test_slow_link_delays_the_end_but_loses_nothing(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = make_lab(1)
    slow = "tc qdisc add dev eth0 root tbf rate 24mbit burst 64kb latency 200ms"
    assert lab.run(slow.split(), node="node0").returncode == 0
    source = "import sys\nsys.stdout.buffer.write(b'0123456789abcde\\n' * 1_875_000)\n"
    script = write(tmp_path / "job", "flood.py", source)
    with Launch(lab, "--launcher", "direct", script) as running:
        began = time.monotonic()
        assert running.end(120) == 0
    assert time.monotonic() - began > 6, "the link was not slow enough to show anything"
    assert "stopping" not in running.err
    copy = copies(lab, run_name(running.err)) / "node0/attempt-0/rank-0.out"
    assert copy.stat().st_size == 30_000_000


def test_full_disk_of_the_controller_keeps_exit_code_and_stop(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = make_lab(1)
    state = lab.home / ".local/state"
    state.mkdir(parents=True)
    mounted = lab.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(state)])
    assert mounted.returncode == 0, mounted.stderr
    source = (
        "import sys, time\nsys.stdout.buffer.write(b'0123456789abcde\\n' * 500_000)\n"
        "sys.stdout.flush()\nprint('up', flush=True)\n"
        "if 'wait' in sys.argv: time.sleep(1000)\nsys.exit(9)\n"
    )
    script = write(tmp_path / "job", "flood.py", source)
    with Launch(lab, "--launcher", "direct", script) as running:
        assert running.end() == 9
        assert "cannot be stored here: No space left on device" in running.err
    lab.run(["rm", "-rf", str(state / "orch")])
    with Launch(lab, "--launcher", "direct", script, "wait") as running:
        wait_until(lambda: processes_of_runs(lab) != [])
        assert running.interrupt() == 130
    assert processes_of_runs(lab) == []


def _is_agent(pid: int) -> bool:
    return not Path(f"/proc/{pid}/comm").read_text().startswith("orch-")
