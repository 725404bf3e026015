"""The process of a step remains until all that it has started is gone."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

BEGIN = "import os, signal, subprocess, time\nfrom orchestrator.node.step import remain\nremain()\n"
LEAVES_DAEMON = BEGIN + "print(subprocess.Popen(['sleep', '1000'], start_new_session=True).pid)"


@pytest.fixture
def start() -> Callable[[str], subprocess.Popen[str]]:
    def start(code: str) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)

    return start


def test_remain_without_descendants_exits_with_the_code_of_the_child(
    start: Callable[[str], subprocess.Popen[str]],
) -> None:
    with start(f"{BEGIN}os._exit(7)") as process:
        assert process.wait(30) == 7


def test_remain_after_a_killed_child_exits_as_a_shell_does(
    start: Callable[[str], subprocess.Popen[str]],
) -> None:
    with start(f"{BEGIN}os.kill(os.getpid(), signal.SIGKILL)") as process:
        assert process.wait(30) == 128 + signal.SIGKILL


def test_remain_lasts_as_long_as_what_the_child_has_left(
    start: Callable[[str], subprocess.Popen[str]],
) -> None:
    with start(LEAVES_DAEMON) as process:
        assert process.stdout is not None
        daemon = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGTERM)  # as Slurm does; it is passed over
        descriptor = os.pidfd_open(process.pid)
        assert select.select([descriptor], [], [], 0.3)[0] == []
        assert f"PPid:\t{process.pid}\n" in Path(f"/proc/{daemon}/status").read_text()
        os.kill(daemon, signal.SIGTERM)  # a program that was started does not pass over signals
        assert process.wait(30) == 0
        os.close(descriptor)
