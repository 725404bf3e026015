"""Run a command on the controller of a lab, and return what it cost there."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import select
import shlex
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from labkit.lab import Lab

ORCH: list[str | Path] = [sys.executable, "-m", "orchestrator"]
PYTHON = shlex.quote(sys.executable)  # for a shell on a host, which sees this machine's files

_HEAD = 64 << 10
_READ = 1 << 20


class BenchError(Exception):
    """A command did not do its work; one line with its output."""


@dataclass(frozen=True)
class Cost:
    """Seconds from start to end, CPU seconds of the process and its children, its peak memory in MiB,
    seconds to the output that was waited for, the number of bytes printed, the first 64 KiB of them, and
    the CPU seconds until the output that was waited for.
    """

    wall: float
    cpu: float
    memory: float
    first: float
    printed: int
    head: bytes
    first_cpu: float


def cost(
    lab: Lab,
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    until: bytes = b"",
    timeout: float = 120.0,
    terminal: bool = False,
    code: int = 0,
) -> Cost:
    """Run a command and wait for it, reading its output cheaply from a pipe or a `terminal` of 120 x 40.

    `first` is when `until` appears in its output, by default the first byte, or the end. Raises BenchError
    if the command does not exit with `code`, does not print that, or takes longer than `timeout` seconds.
    """
    with tempfile.TemporaryFile() as stderr, _output(terminal) as (reader, writer):
        began = time.monotonic()
        process = lab.popen(
            argv,
            env=env,
            stdin=writer if terminal else subprocess.DEVNULL,
            stdout=writer,
            stderr=writer if terminal else stderr,
        )
        os.close(writer)
        try:
            first, printed, head = _drain(reader, until, process.pid, began + timeout)
            _await_end(process.pid, began + timeout)
            # Not Popen.wait: it does not return the cost.
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException as error:
            process.kill()
            process.wait()
            if isinstance(error, TimeoutError):
                raise BenchError(f"{_words(argv)}: not done in {timeout:g} s") from None
            raise
        wall = time.monotonic() - began
        if process.returncode != code or (until and first is None):
            stderr.seek(0)
            said = (stderr.read() or head).decode(errors="replace").strip()[-500:]
            lacking = "" if process.returncode != code else f" without printing {until.decode()!r}"
            raise BenchError(
                f"{_words(argv)}: ended with exit code {process.returncode}{lacking}: {said}"
            )
    cpu = usage.ru_utime + usage.ru_stime
    at, first_cpu = first or (began + wall, cpu)
    return Cost(wall, cpu, usage.ru_maxrss / 1024, at - began, printed, head, first_cpu)


def launch(
    lab: Lab,
    *words: str | Path,
    until: bytes = b"",
    timeout: float = 120.0,
    terminal: bool = False,
) -> Cost:
    """Return the cost of an `orch launch` on the hosts of the lab, like `cost`."""
    argv = [*ORCH, "launch", "-i", lab.inventory, *words]
    return cost(lab, argv, until=until, timeout=timeout, terminal=terminal)


@contextmanager
def _output(terminal: bool) -> Iterator[tuple[int, int]]:
    """Yield the end to read from and the end for the command, which the caller closes."""
    if not terminal:
        reader, writer = os.pipe()
    else:
        reader, writer = pty.openpty()
        fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    try:
        yield reader, writer
    finally:
        os.close(reader)


def _drain(
    reader: int, until: bytes, pid: int, deadline: float
) -> tuple[tuple[float, float] | None, int, bytes]:
    """Read to the end; return when `until` appeared and the CPU time of `pid` then, the number of bytes,
    and the first ones.
    """
    buffer = bytearray(_READ)
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    first, printed, head = None, 0, b""
    while True:
        _await(poll, deadline)
        try:
            count = os.readv(reader, [buffer])
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            count = 0  # a terminal that no process has open any more
        if not count:
            return first, printed, head
        printed += count
        if len(head) < _HEAD:
            head += buffer[: min(count, _HEAD - len(head))]
            if first is None and until in head:
                first = time.monotonic(), _cpu_so_far(pid)


def _cpu_so_far(pid: int) -> float:
    """Return the CPU seconds of a process and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _await_end(pid: int, deadline: float) -> None:
    """Return when the process has ended, without reaping it."""
    fd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        _await(poll, deadline)
    finally:
        os.close(fd)


def _await(poll: select.poll, deadline: float) -> None:
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError


def _words(argv: Sequence[str | Path]) -> str:
    return shlex.join(map(str, argv[:4]))
