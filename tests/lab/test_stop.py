"""After any end of a run, none of its processes are left on a node, and other runs continue."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import (
    Launch,
    agents,
    launch,
    orch,
    processes_of_runs,
    record,
    run_name,
    wait_until,
    write,
)

pytestmark = pytest.mark.lab

# A rank with children that are hard to end: a grandchild in a separate session, one without the
# environment of the run, one that ignores SIGTERM.
CLINGING = """
import os, signal, subprocess, sys, time
subprocess.Popen(["setsid", "sleep", "1001"])
subprocess.Popen(["setsid", "env", "-i", "sleep", "1002"])
subprocess.Popen(["sh", "-c", "trap '' TERM; while :; do sleep 0.2; done"])
print("up", os.environ["RANK"], flush=True)
if "fail" in sys.argv and os.environ["RANK"] == "1":
    time.sleep(0.5)
    sys.exit(7)
time.sleep(1000)
"""


def nothing_left(lab: Lab, run: str | None = None) -> bool:
    strays = [argv for node in lab.nodes for _, argv, _ in lab.processes(node) if "1002" in argv]
    return processes_of_runs(lab, run) == [] and strays == []


@pytest.mark.parametrize("launcher", ["direct", pytest.param("torchrun", marks=pytest.mark.torch)])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupt_ends_every_process_on_every_node(
    lab3: Lab, tmp_path: Path, launcher: str, number: int, code: int
) -> None:
    script = write(tmp_path / "job", "cling.py", CLINGING)
    with Launch(lab3, "--launcher", launcher, "--nproc", "2", script) as running:
        running.wait_for_lines(6, "up")
        assert running.interrupt(number) == code
        assert nothing_left(lab3)
        assert record(lab3, run_name(running.err))["state"] == "ended"
    wait_until(lambda: agents(lab3) == [])


@pytest.mark.parametrize("launcher", ["direct", pytest.param("torchrun", marks=pytest.mark.torch)])
def test_failing_rank_ends_every_process_on_every_node(
    lab3: Lab, tmp_path: Path, launcher: str
) -> None:
    script = write(tmp_path / "job", "cling.py", CLINGING)
    done = launch(lab3, "--launcher", launcher, script, "fail")
    assert done.returncode == 7, done.stderr
    assert nothing_left(lab3)


def test_second_interrupt_kills_at_once(lab3: Lab, tmp_path: Path) -> None:
    source = (
        "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('up')\ntime.sleep(1000)\n"
    )
    script = write(tmp_path / "job", "deaf.py", source)
    with Launch(lab3, "--launcher", "direct", "--grace", "600", script) as running:
        running.wait_for_lines(3, "up")
        running.process.send_signal(signal.SIGINT)
        # The first one is handled: only now does the next count as the second.
        line = b""
        while b"stopping all ranks" not in line:
            assert running.process.stderr is not None
            line = running.process.stderr.readline()
            assert line
        assert running.interrupt(signal.SIGINT) == 130
    assert nothing_left(lab3)


def test_stopped_ranks_have_time_to_save(lab3: Lab, tmp_path: Path) -> None:
    source = (
        "import signal, sys, time\n"
        "def save(*_):\n    time.sleep(0.5)\n    print('saved')\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, save)\nprint('up')\n"
        "while True: time.sleep(0.1)\n"
    )
    script = write(tmp_path / "job", "save.py", source)
    with Launch(lab3, "--launcher", "direct", "--grace", "30", script) as running:
        running.wait_for_lines(3, "up")
        running.interrupt()
        assert sum("saved" in line for line in running.out) == 3


def test_sibling_run_on_the_same_nodes_continues(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "cling.py", CLINGING)
    with (
        Launch(lab3, "--launcher", "direct", "--name", "sibling", script) as sibling,
        Launch(lab3, "--launcher", "direct", "--name", "first", script) as first,
    ):
        sibling.wait_for_lines(3, "up")
        first.wait_for_lines(3, "up")
        before = lasting(lab3)
        assert first.interrupt() == 130
        assert nothing_left_of(lab3, run_name(first.err))
        left = processes_of_runs(lab3)
        assert lasting(lab3) == before
        assert len([argv for _, argv in left if argv[-1].endswith("cling.py")]) == 3
        assert sibling.interrupt() == 130
    assert nothing_left(lab3)


def lasting(lab: Lab) -> set[tuple[str, str]]:
    """The (node, last argument) of the ranks and their children, except short-lived ones."""
    return {(node, argv[-1]) for node, argv in processes_of_runs(lab) if argv[-1] != "0.2"}


def nothing_left_of(lab: Lab, run: str) -> bool:
    return processes_of_runs(lab, run) == []


@pytest.mark.torch
@pytest.mark.parametrize("how", ["interrupt", "failure"])
def test_exit_barrier_of_torchrun_does_not_delay_the_end(
    lab3: Lab, tmp_path: Path, how: str
) -> None:
    source = (
        "import os, sys, time\nprint('up', flush=True)\n"
        "if os.environ['RANK'] == '0': sys.exit(0)\n"
        "while not os.path.exists('/tmp/fail-now'): time.sleep(0.05)\nsys.exit(3)\n"
    )
    script = write(tmp_path / "job", "barrier.py", source)
    with Launch(lab3, "--nodes", "node[0-1]", script) as running:
        running.wait_for_lines(2, "up")
        # Rank 0 has ended; its torchrun waits in the barrier for that of the other node.
        wait_until(lambda: ranks_of(lab3, "node0") == [])
        assert [argv for node, argv in processes_of_runs(lab3) if node == "node0"]
        began = time.monotonic()
        if how == "interrupt":
            assert running.interrupt() == 130
        else:
            (lab3.files("node1") / "tmp/fail-now").touch()
            assert running.end() == 3
            (lab3.files("node1") / "tmp/fail-now").unlink()
        assert time.monotonic() - began < 25  # the barrier itself would last 300 s
    assert nothing_left(lab3)


def ranks_of(lab: Lab, node: str) -> list[object]:
    return [
        argv for where, argv in processes_of_runs(lab) if where == node and argv[-1].endswith("barrier.py")
        and "torch.distributed.run" not in argv
    ]  # fmt: skip


def test_run_survives_a_killed_orch(lab3: Lab, tmp_path: Path) -> None:
    source = (
        "import os, time\nprint('up', flush=True)\n"
        "while not os.path.exists('/tmp/go'): time.sleep(0.05)\nprint('continued')\n"
    )
    script = write(tmp_path / "job", "long.py", source)
    with Launch(lab3, "--nodes", "node0", "--launcher", "direct", script) as running:
        running.wait_for_lines(1, "up")
        (node, _), *_ = processes_of_runs(lab3)
        running.process.kill()
        running.end()
    # The agent exits; the supervisor and the log writer, which were forked from it, stay.
    wait_until(lambda: len(agents(lab3)) == 2)
    assert processes_of_runs(lab3) != []
    (lab3.files(node) / "tmp/go").touch()
    wait_until(lambda: processes_of_runs(lab3) == [])
    run = run_name(running.err)
    out = lab3.files(node) / "home/.local/state/orch/runs" / run / node / "attempt-0/rank-0.out"
    assert out.read_text() == "up\ncontinued\n"
    assert orch(lab3, "attach", run).returncode == 0


def test_interrupt_works_while_stderr_is_not_read(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "cling.py", CLINGING)
    with Launch(lab3, "--launcher", "direct", script) as running:
        running.wait_for_lines(3, "up")
        assert running.process.stderr is not None
        running.process.stderr.close()  # as `2>&1 | tee` does when Ctrl-C ends tee first
        running.process.stderr = None
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(60) == 130
    assert nothing_left(lab3)


def test_interrupt_works_while_stdout_is_not_read(lab3: Lab, tmp_path: Path) -> None:
    source = (
        "import sys, time\n"
        "for i in range(200): sys.stdout.buffer.write(b'x' * 99_999 + b'\\n')\n"
        "sys.stdout.flush()\ntime.sleep(1000)\n"
    )
    script = write(tmp_path / "job", "much.py", source)
    with Launch(lab3, "--nodes", "node0", "--launcher", "direct", script) as running:
        runs = lab3.home / ".local/state/orch/runs"
        wait_until(
            lambda: any(
                path.stat().st_size == 20_000_000
                for path in runs.glob("*/logs/node0/attempt-0/rank-0.out")
            )
        )
        running.process.send_signal(signal.SIGINT)
        wait_until(lambda: processes_of_runs(lab3) == [])
        wait_until(lambda: agents(lab3) == [])

        def has_ended() -> bool:
            """Only unread output is left; once orch waits for that, a further signal ends the wait."""
            running.process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                running.process.wait(1)
            return running.process.returncode is not None

        wait_until(has_ended, 30)
        assert running.process.returncode == 130


def test_closed_output_does_not_stop_the_run(lab3: Lab, tmp_path: Path) -> None:
    source = "import time\nfor i in range(20): print('line', i, flush=True); time.sleep(0.05)\n"
    script = write(tmp_path / "job", "lines.py", source)
    with Launch(lab3, "--nodes", "node0", "--launcher", "direct", script) as running:
        running.wait_for_lines(1, "line 0")
        assert running.process.stdout is not None
        running.process.stdout.close()
        running.process.stdout = None
        assert running.end() == 0
        assert "nothing reads the output any more" in running.err


@pytest.mark.parametrize("launcher", ["direct", pytest.param("torchrun", marks=pytest.mark.torch)])
def test_full_disk_on_a_node_keeps_the_exit_code(
    make_lab: Callable[..., Lab], tmp_path: Path, launcher: str
) -> None:
    lab = make_lab(1)
    state = "/root/.local/state/orch"
    lab.run(["mkdir", "-p", state], node="node0")
    mounted = lab.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", state], node="node0")
    assert mounted.returncode == 0, mounted.stderr
    source = (
        "import os, sys\n"
        "try:\n    open(os.environ['ORCH_DIR'] + '/fill', 'wb').write(bytes(8_000_000))\n"
        "except OSError as error:\n    os._exit(7)\n"
    )
    script = write(tmp_path / "job", "fill.py", source)
    # It fills during the run: a preflight checks for space at the start.
    done = launch(lab, "--preflight", "off", "--launcher", launcher, script, timeout=60)
    assert done.returncode == 7, done.stderr
    assert "rank 0 on node0 exited with 7" in done.stderr


def test_script_that_removes_the_run_folder_keeps_its_exit_code(lab3: Lab, tmp_path: Path) -> None:
    source = (
        "import os, shutil, subprocess, sys\nsubprocess.Popen(['setsid', 'sleep', '1002'])\n"
        "shutil.rmtree(os.environ['ORCH_DIR'], ignore_errors=True)\nsys.exit(7)\n"
    )
    script = write(tmp_path / "job", "remove.py", source)
    done = launch(lab3, "--nodes", "node0", "--launcher", "direct", script, timeout=60)
    assert done.returncode == 7, done.stderr
    assert nothing_left(lab3)
