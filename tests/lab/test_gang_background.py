"""A run whose terminal has closed still fails as a whole: a background controller takes over."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from labkit.lab import LISTENER, Lab

from .orch import (
    OBEYING,
    ORCH,
    Attach,
    Launch,
    agent_pids,
    controllers,
    detached,
    latest,
    orch,
    order_to_leave,
    processes_of_runs,
    record,
    run_name,
    unlike,
    wait_for_copies,
    wait_for_end,
    wait_until,
    write,
)

pytestmark = pytest.mark.lab


class InTerminal:
    """An `orch launch` in a separate terminal."""

    def __init__(self, lab: Lab, *words: str | Path) -> None:
        self.screen = ""
        self._master, slave = pty.openpty()
        self.process = lab.popen(
            [*ORCH, "launch", "-i", lab.inventory, *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)

    def wait_for(self, text: str, count: int = 1, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while self.screen.count(text) < count:
            assert time.monotonic() < deadline, self.screen
            if select.select([self._master], [], [], 0.1)[0]:
                self.screen += os.read(self._master, 1 << 16).decode(errors="replace")

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def close(self) -> None:
        """Close the terminal."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def end(self, seconds: float = 30) -> int:
        """Wait for the exit code while reading the output."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.screen
            if self._master >= 0 and select.select([self._master], [], [], 0.05)[0]:
                try:
                    self.screen += os.read(self._master, 1 << 16).decode(errors="replace")
                except OSError:  # no process has it open any more
                    return self.process.wait(seconds)
        return self.process.returncode


@contextmanager
def in_terminal(lab: Lab, *words: str | Path) -> Iterator[InTerminal]:
    launched = InTerminal(lab, *words)
    try:
        yield launched
    finally:
        launched.close()
        if launched.process.poll() is None:
            launched.process.kill()
        launched.process.wait(30)


OTHERS: set[int] = set()
"""Agents of other runs, which other tests may have left in the lab."""


@pytest.fixture(autouse=True)
def _others(lab3: Lab) -> Iterator[None]:
    """Note the agents of other runs; stop what a failed test has left."""
    OTHERS.clear()
    OTHERS.update(agent_pids(lab3))
    yield
    if agent_pids(lab3) > OTHERS:
        orch(lab3, "stop", latest(lab3))


def inherited(pid: int) -> list[str]:
    """Return what a process has of its terminal and, as its standard streams, of the caller's pipes."""
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        kinds = ("/dev/pts", "/dev/tty", *(("pipe:",) if path.name in "012" else ()))
        with suppress(FileNotFoundError):  # it has just been closed
            found += [name for name in [str(path.readlink())] if name.startswith(kinds)]
    return found


def ends_as_a_gang(lab: Lab, run: str) -> None:
    """Make one rank fail, and check that the background controller ends all of them."""
    (controller,) = controllers(lab, run)
    assert os.getsid(controller) == controller
    assert inherited(controller) == []
    order_to_leave(lab, run, 3, "node1")
    ended = wait_for_end(lab, run)
    assert (ended["exit_code"], ended["summary"]) == (3, "rank 1 on node1 exited with 3")
    assert processes_of_runs(lab, run) == []
    assert unlike(lab, run) == []
    for node in ("node0", "node2"):
        (out,) = (lab.files(node) / "home/.local/state/orch/runs" / run).glob("*/*/rank-*.out")
        assert out.read_text().endswith("asked to stop\n")
    wait_until(lambda: agent_pids(lab) <= OTHERS)


def test_detached_run_is_controlled_to_its_end(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "obey.py", OBEYING)
    run = detached(lab3, "--launcher", "direct", script)
    wait_for_copies(lab3, run, 3, "up\n")
    assert record(lab3, run)["state"] == "running"
    ends_as_a_gang(lab3, run)


def test_detached_run_succeeds(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "obey.py", OBEYING)
    run = detached(lab3, "--launcher", "direct", script)
    order_to_leave(lab3, run, 0)
    ended = wait_for_end(lab3, run)
    assert (ended["exit_code"], ended["summary"]) == (0, "all 3 ranks succeeded")
    assert unlike(lab3, run) == []


def test_detached_launch_closes_its_output(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "obey.py", OBEYING)
    given = ["-i", str(lab3.inventory), "--detach", "--launcher", "direct", str(script)]
    words = [*ORCH, "launch", *given]
    done = lab3.run(["sh", "-c", '"$@" 2>&1 | cat', "sh", *words])
    run = run_name(done.stdout)
    assert record(lab3, run)["state"] == "running"
    ends_as_a_gang(lab3, run)


def test_closed_terminal_leaves_the_run_to_the_background(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "obey.py", OBEYING)
    with in_terminal(lab3, "--launcher", "direct", script) as launched:
        launched.wait_for("│ line", 3)
        run = run_name(launched.screen)
        launched.close()
        assert launched.end() == 0
    ends_as_a_gang(lab3, run)


def test_ctrl_backslash_leaves_the_run_to_the_background(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "obey.py", OBEYING)
    with in_terminal(lab3, "--launcher", "direct", script) as launched:
        launched.wait_for("│ line", 3)
        launched.type(b"\x1c")
        assert launched.end() == 0
        run = run_name(launched.screen)
        assert "orch attach" in launched.screen
    ends_as_a_gang(lab3, run)


def test_terminal_that_closes_before_the_start_cancels_the_launch(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = make_lab(2)
    script = write(tmp_path / "job", "obey.py", OBEYING)
    (silent,) = [p.pid for p in lab.processes("node1") if p.argv and p.argv[0].startswith(LISTENER)]
    os.kill(silent, signal.SIGSTOP)
    with in_terminal(lab, "--launcher", "direct", "--connect-timeout", "60", script) as launched:
        wait_until(lambda: any("sshd: root" in p.argv[0] for p in lab.processes("node0") if p.argv))
        launched.close()
        assert launched.end() == 128 + signal.SIGHUP
    os.kill(silent, signal.SIGCONT)
    assert processes_of_runs(lab) == []
    assert not (lab.home / ".local/state/orch/runs").exists()


def test_launch_under_nohup_survives_its_terminal(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "obey.py", OBEYING)
    given = ["-i", str(lab3.inventory), "--launcher", "direct", str(script)]
    words = ["nohup", *ORCH, "launch", *given]
    pipe = subprocess.PIPE
    with lab3.popen(words, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe) as process:
        wait_until(lambda: len(processes_of_runs(lab3)) >= 3)
        process.send_signal(signal.SIGHUP)
        run = latest(lab3)
        wait_for_copies(lab3, run, 3, "line 50\n")
        assert process.poll() is None
        assert controllers(lab3, run) == []
        order_to_leave(lab3, run, 0)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.count(b"leaving with 0") == 3


@pytest.mark.parametrize("command", ["attach", "logs"])
def test_reading_a_run_without_controller_starts_one(
    lab3: Lab, tmp_path: Path, command: str
) -> None:
    script = write(tmp_path / "job", "obey.py", OBEYING)
    with Launch(lab3, "--launcher", "direct", script) as running:
        running.wait_for_lines(3, "│ line 1")
        running.process.kill()
        running.end()
    run = run_name(running.err)
    assert controllers(lab3, run) == []
    if command == "attach":
        with Attach(lab3, run) as looking:
            wait_until(lambda: controllers(lab3, run) != [])
            ends_as_a_gang(lab3, run)
            assert looking.end() == 3
    else:
        pipe = subprocess.PIPE
        with lab3.popen([*ORCH, "logs", "-f", run], stdout=pipe, stderr=pipe) as reading:
            wait_until(lambda: controllers(lab3, run) != [])
            ends_as_a_gang(lab3, run)
            out, err = reading.communicate(timeout=30)
            assert out.count(b"asked to stop") == 2, (out, err)


def test_stop_ends_a_run_without_controller(lab3: Lab, tmp_path: Path) -> None:
    script = write(tmp_path / "job", "obey.py", OBEYING)
    with Launch(lab3, "--launcher", "direct", script) as running:
        running.wait_for_lines(3, "│ line 1")
        running.process.kill()
        running.end()
    run = run_name(running.err)
    done = orch(lab3, "stop", run)
    assert done.returncode == 0, done.stderr
    ended = wait_for_end(lab3, run)
    assert (ended["exit_code"], ended["summary"]) == (130, "stopped by orch stop")
    assert processes_of_runs(lab3, run) == []
    assert unlike(lab3, run) == []


def test_run_of_an_embedded_cluster_has_a_background_controller(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = make_lab(1)
    script = write(tmp_path / "job", "obey.py", OBEYING)
    done = orch(lab, "launch", "--local", "2", "--detach", "--launcher", "direct", script)
    assert done.returncode == 0, done.stderr
    run = run_name(done.stderr)
    wait_for_copies(lab, run, 2, "up\n")
    order = Path("/tmp") / f"{run}.leave"  # the controller has this machine's files
    order.write_text("4")
    try:
        ended = wait_for_end(lab, run)
    finally:
        order.unlink()
    assert ended["exit_code"] == 4
    left = [p.argv for p in lab.processes("ctl") if f"ORCH_RUN={run}".encode() in p.environ]
    assert left == []
