"""A slow terminal, or one stopped with Ctrl-S, neither slows ranks nor prevents supervision of the run."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from labkit.lab import Lab

from .orch import processes_of_runs, wait_until
from .steps import Stepping

pytestmark = pytest.mark.lab

CTRL_S, CTRL_Q = b"\x13", b"\x11"


class Terminal:
    """A terminal of 120 x 40 that is read at `speed` bytes per second (None: without a limit)."""

    def __init__(self) -> None:
        self._master, self.end = pty.openpty()
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("4H", 40, 120, 0, 0))
        self.speed: int | None = None
        self.read = 0
        self._closed = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def press(self, key: bytes) -> None:
        os.write(self._master, key)

    def close(self) -> None:
        self._closed.set()
        self._reader.join()
        os.close(self._master)
        os.close(self.end)

    def _read(self) -> None:
        while not self._closed.is_set():
            speed = self.speed
            if select.select([self._master], [], [], 0.1)[0]:
                self.read += len(os.read(self._master, 1 << 16 if speed is None else speed // 10))
            if speed is not None:
                self._closed.wait(0.1)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


def test_terminal_of_10_kb_per_second_does_not_slow_ranks(
    lab3: Lab, tmp_path: Path, terminal: Terminal
) -> None:
    with on(terminal, lab3, tmp_path) as job:
        calm = job.run_for(2)
        terminal.speed = 10_000
        before = terminal.read
        trouble = job.run_for(6)
        assert 0 < terminal.read - before < 100_000
        terminal.speed = None
        job.enough()
        assert job.process.wait(60) == 0
    job.assert_every_byte_is_here()
    job.assert_no_rank_waited(calm, trouble)


def test_stopped_terminal_does_not_stop_supervision(
    lab3: Lab, tmp_path: Path, terminal: Terminal
) -> None:
    with on(terminal, lab3, tmp_path) as job:
        calm = job.run_for(2)
        terminal.press(CTRL_S)
        trouble = job.run_for(6)
        before = terminal.read
        kill_rank(lab3, "node1")
        wait_until(lambda: processes_of_runs(lab3, job.run) == [])
        wait_until(lambda: job.record["state"] == "ended")
        assert job.record["exit_code"] == 128 + signal.SIGKILL
        assert job.process.poll() is None
        assert terminal.read == before
        terminal.press(CTRL_Q)
        assert job.process.wait(60) == 128 + signal.SIGKILL
    job.assert_every_byte_is_here()
    job.assert_no_rank_waited(calm, trouble)


def on(terminal: Terminal, lab: Lab, folder: Path) -> Stepping:
    end = terminal.end
    return Stepping(lab, folder, size=5000, stdin=end, stdout=end, stderr=end)


def kill_rank(lab: Lab, node: str) -> None:
    (rank,) = [p.pid for p in lab.processes(node) if "steps.py" in p.argv]
    os.kill(rank, signal.SIGKILL)
